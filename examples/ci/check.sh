#!/bin/sh
# The experiment with what must hold; in virtual time, so anywhere, and the same every time.
set -eu
cd "$(dirname "$0")"
testbed run experiment.yaml --engine simulation --junit results.xml \
    --assert 'wanspec.latency_ratio < 1.05 (95 %)' \
    --assert 'wanspec.target_site_draft_ratio < 1.0 (95 %)' \
    --assert 'tpot_ms < 100'
