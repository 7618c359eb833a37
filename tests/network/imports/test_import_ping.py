"""Output of ping, of every system, in languages nobody listed: replies, losses, duplicates, names."""

# ruff: noqa: E501, RUF001  # lines are as other programs write them

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from testbed.errors import BadInput
from testbed.files.reading import read_others_text
from testbed.network.imports import ping
from testbed.network.imports.formats import OF_TOPOLOGIES, format_of
from testbed.network.imports.found import Options, RoundTrips


def read(
    tmp_path: Path, content: str | bytes, name: str = "me_to_host.txt", **options: object
) -> dict[str, RoundTrips]:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    text, _ = read_others_text(path)
    assert format_of(text, path, OF_TOPOLOGIES, None)[0].name == "ping"
    found, _ = ping.round_trips(text, path, Options(**options))  # type: ignore[arg-type]
    return {dst: one for (_, dst), one in found.items()}


def windows(header: str, reply: str, lost: str, counts: str, times: str) -> str:
    body = [
        header,
        reply.replace("@", "12"),
        lost,
        reply.replace("@", "14"),
        "",
        "Ping 192.0.2.1:",
        *counts.split("|"),
        times,
    ]
    return "\r\n".join(["", *body, ""])


LINUX = """\
PING host (192.0.2.1) 56(84) bytes of data.
64 bytes from host (192.0.2.1): icmp_seq=1 ttl=56 time=12.0 ms
64 bytes from host (192.0.2.1): icmp_seq=1 ttl=56 time=99.0 ms (DUP!)
64 bytes from host (192.0.2.1): icmp_seq=3 ttl=56 time=14 ms
"""
SAME = {  # replies of 12 and 14 ms and one loss
    "Linux": LINUX + "\n--- host ping statistics ---\n3 packets transmitted, 2 received, +1 duplicates, 33.3% packet loss, "
    "time 2003ms\nrtt min/avg/max/mdev = 12.0/13.0/14.0/1.0 ms\n",
    "interrupted before its summary": LINUX + "^C\n",
    "with times and notices": "PING host (192.0.2.1) 56(84) bytes of data.\n"
    "[1700000000.5] 64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=12.0 ms\n[1700000002.5] no answer yet for icmp_seq=2\n"
    "[1700000002.6] 64 bytes from 192.0.2.1: icmp_seq=3 ttl=64 time=14.0 ms\n",
    "unreachable": "PING host (192.0.2.1) 56(84) bytes of data.\n64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=12.0 ms\n"
    "From 192.0.2.9 icmp_seq=2 Destination Host Unreachable\n64 bytes from 192.0.2.1: icmp_seq=3 ttl=64 time=14.0 ms\n",
    "an old Linux": "PING host (192.0.2.1) 56(84) bytes of data.\n64 bytes from 192.0.2.1: icmp_req=1 ttl=56 time=12 ms\n"
    "64 bytes from 192.0.2.1: icmp_req=3 ttl=56 time=14 ms\n",
    "lost at the end": "PING host (192.0.2.1) 56(84) bytes of data.\n64 bytes from 192.0.2.1: icmp_seq=1 ttl=56 time=12 ms\n"
    "64 bytes from 192.0.2.1: icmp_seq=2 ttl=56 time=14 ms\n\n--- host ping statistics ---\n"
    "3 packets transmitted, 2 received, 33% packet loss, time 2003ms\n",
    "IPv6": "PING host(2001:db8::1) 56 data bytes\n64 bytes from 2001:db8::1: icmp_seq=1 ttl=56 time=12.0 ms\n"
    "64 bytes from 2001:db8::1: icmp_seq=3 ttl=56 time=14.0 ms\n",
    "BusyBox": "PING host (192.0.2.1): 56 data bytes\n64 bytes from 192.0.2.1: seq=0 ttl=56 time=12.000 ms\n"
    "64 bytes from 192.0.2.1: seq=2 ttl=56 time=14.000 ms\n\n--- host ping statistics ---\n"
    "3 packets transmitted, 2 packets received, 33% packet loss\nround-trip min/avg/max = 12.000/13.000/14.000 ms\n",
    "macOS": "$ ping host\nPING host (192.0.2.1): 56 data bytes\n64 bytes from 192.0.2.1: icmp_seq=0 ttl=116 time=12.0 ms\n"
    "Request timeout for icmp_seq 1\n64 bytes from 192.0.2.1: icmp_seq=2 ttl=116 time=14.0 ms\n^C\n--- host ping statistics "
    "---\n3 packets transmitted, 2 packets received, 33.3% packet loss\nround-trip min/avg/max/stddev = 12/13/14/1 ms\n",
    "FreeBSD, IPv6": "PING6(56=40+8+8 bytes) 2001:db8::9 --> 2001:db8::1\n16 bytes from 2001:db8::1, icmp_seq=0 hlim=55 "
    "time=12.0 ms\n16 bytes from 2001:db8::1, icmp_seq=2 hlim=55 time=14.0 ms\n",
    "English Windows": windows(
        "Pinging host [192.0.2.1] with 32 bytes of data:", "Reply from 192.0.2.1: bytes=32 time=@ms TTL=54",
        "Request timed out.", "    Packets: Sent = 3, Received = 2, Lost = 1 (33% loss),",
        "    Minimum = 12ms, Maximum = 14ms, Average = 13ms"),
    "an address": windows(
        "Pinging 192.0.2.1 with 32 bytes of data:", "Reply from 192.0.2.1: bytes=32 time=@ms TTL=54",
        "Reply from 192.0.2.9: Destination host unreachable.", "    Packets: Sent = 3, Received = 3, Lost = 0 (0% loss),",
        "    Minimum = 12ms, Maximum = 14ms, Average = 13ms"),
    "Windows, IPv6": windows(
        "Pinging host [2001:db8::1] with 32 bytes of data:", "Reply from 2001:db8::1: time=@ms", "Request timed out.",
        "    Packets: Sent = 3, Received = 2, Lost = 1 (33% loss),", "    Minimum = 12ms, Maximum = 14ms, Average = 13ms"),
    "Linux in German": "PING host (192.0.2.1) 56(84) Bytes an Daten.\n64 Bytes von 192.0.2.1: icmp_seq=1 ttl=56 Zeit=12.0 ms\n"
    "64 Bytes von 192.0.2.1: icmp_seq=2 ttl=56 Zeit=14.0 ms\n\n--- host ping-Statistik ---\n3 Pakete übertragen, 2 empfangen, "
    "33.3% packet loss, time 2003ms\nrtt min/avg/max/mdev = 12/13/14/1 ms\n",
    "fping": "host : [0], 64 bytes, 12.0 ms (12.0 avg, 0% loss)\nhost : [1], timed out (NaN avg, 50% loss)\n"
    "host : [2], 64 bytes, 14.0 ms (13.0 avg, 33% loss)\n",
    "German": windows(
        "Ping wird ausgeführt für host [192.0.2.1] mit 32 Bytes Daten:", "Antwort von 192.0.2.1: Bytes=32 Zeit=@ms TTL=54",
        "Zeitüberschreitung der Anforderung.", "    Pakete: Gesendet = 3, Empfangen = 2, Verloren = 1|    (33% Verlust),",
        "    Minimum = 12ms, Maximum = 14ms, Mittelwert = 13ms"),
    "French": windows(
        "Envoi d'une requête 'ping' sur host [192.0.2.1] avec 32 octets de données :",
        "Réponse de 192.0.2.1 : octets=32 temps=@ ms TTL=54", "Délai d'attente de la demande dépassé.",
        "    Paquets : envoyés = 3, reçus = 2, perdus = 1 (perte 33%),", "    Minimum = 12ms, Maximum = 14ms, Moyenne = 13ms"),
    "Spanish": windows(
        "Haciendo ping a host [192.0.2.1] con 32 bytes de datos:", "Respuesta desde 192.0.2.1: bytes=32 tiempo=@ms TTL=54",
        "Tiempo de espera agotado para esta solicitud.", "    Paquetes: enviados = 3, recibidos = 2, perdidos = 1|  (33%),",
        "    Mínimo = 12ms, Máximo = 14ms, Media = 13ms"),
    "Russian": windows(
        "Обмен пакетами с host [192.0.2.1] с 32 байтами данных:", "Ответ от 192.0.2.1: число байт=32 время=@мс TTL=54",
        "Превышен интервал ожидания для запроса.", "    Пакетов: отправлено = 3, получено = 2, потеряно = 1|    (33%)",
        "Минимальное = 12мсек, Максимальное = 14 мсек, Среднее = 13 мсек"),
    "Japanese": windows(
        "host [192.0.2.1]に ping を送信しています 32 バイトのデータ:", "192.0.2.1 からの応答: バイト数 =32 時間 =@ms TTL=54",
        "要求がタイムアウトしました。", "    パケット数: 送信 = 3、受信 = 2、損失 = 1 (33% の損失)、",
        "    最小 = 12ms、最大 = 14ms、平均 = 13ms"),
    "Chinese": windows(
        "正在 Ping host [192.0.2.1] 具有 32 字节的数据:", "来自 192.0.2.1 的回复: 字节=32 时间=@ms TTL=54", "请求超时。",
        "    数据包: 已发送 = 3,已接收 = 2,丢失 = 1 (33% 丢失),", "    最短 = 12ms,最长 = 14ms,平均 = 13ms"),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_replies_and_losses_are_seen(tmp_path: Path, name: str) -> None:
    (one,) = read(tmp_path, SAME[name]).values()
    assert (one.values, one.typical_ms) == ([12.0, 14.0], 13.0)
    assert one.loss == pytest.approx(1 / 3)


def test_a_redirected_windows_ping_is_read(tmp_path: Path) -> None:
    text = SAME["German"]
    for raw in (codecs.BOM_UTF16_LE + text.encode("utf-16-le"), text.encode("cp850"), text.encode("cp1252")):
        (one,) = read(tmp_path, raw).values()
        assert (one.values, one.loss) == ([12.0, 14.0], pytest.approx(1 / 3))


def test_a_summary_alone_gives_its_mean(tmp_path: Path) -> None:
    text = ("PING host (192.0.2.1) 56(84) bytes of data.\n\n--- host ping statistics ---\n100 packets transmitted, 98 received, "
            "2% packet loss, time 99123ms\nrtt min/avg/max/mdev = 30.1/31.5/40.2/1.2 ms\n")  # fmt: skip
    (one,) = read(tmp_path, text).values()
    assert (one.typical_ms, one.loss) == (31.5, pytest.approx(0.02))


def test_a_windows_summary_alone_gives_its_mean(tmp_path: Path) -> None:
    text = ("Ping statistics for 192.0.2.1:\n    Packets: Sent = 4, Received = 3, Lost = 1 (25% loss),\n"
            "Approximate round trip times in milli-seconds:\n    Minimum = 11ms, Maximum = 13ms, Average = 12ms\n")  # fmt: skip
    found = read(tmp_path, text, "x.txt", src="me")
    assert {name: (one.typical_ms, one.loss) for name, one in found.items()} == {"192.0.2.1": (12.0, 0.25)}


def test_fping_s_summaries_are_read(tmp_path: Path) -> None:
    text = "a : xmt/rcv/%loss = 4/4/0%, min/avg/max = 10.1/11.2/12.3\nb : xmt/rcv/%loss = 4/3/25%, min/avg/max = 20.1/21.2/22.3\n"
    found = read(tmp_path, text, "fping.txt", src="me")
    assert {name: (one.typical_ms, one.loss) for name, one in found.items()} == {"a": (11.2, 0.0), "b": (21.2, 0.25)}


def test_several_pings_of_one_file_are_kept_apart(tmp_path: Path) -> None:
    text = SAME["Linux"] + SAME["macOS"].replace("host", "other") + SAME["English Windows"].replace("host [", "third [")
    found = read(tmp_path, text, "all.txt", src="me")
    assert {name: one.typical_ms for name, one in found.items()} == {"host": 13.0, "other": 13.0, "third": 13.0}


def test_less_than_a_millisecond_is_half_of_one(tmp_path: Path) -> None:
    text = "Pinging h [192.0.2.1] with 32 bytes of data:\nReply from 192.0.2.1: bytes=32 time<1ms TTL=54\n"
    (tmp_path / "p.txt").write_text(text)
    found, notes = ping.round_trips(text, tmp_path / "p.txt", Options(src="me"))
    assert found["me", "h"].values == [0.5]
    assert notes == ("1 replies faster than 1 ms count as 0.5 ms",)


def test_numbers_that_start_over_are_counted_on(tmp_path: Path) -> None:
    lines = [f"64 bytes from 192.0.2.1: icmp_seq={number % 65536} ttl=9 time=1.0 ms" for number in range(65534, 65539)]
    (one,) = read(tmp_path, "PING h (192.0.2.1) 56(84) bytes of data.\n" + "\n".join(lines)).values()
    assert (len(one.samples), one.loss) == (5, 0.0)


def test_numbers_far_apart_are_counted_on_at_once(tmp_path: Path) -> None:
    """Sixteen bits are used up a million times between the two, if this is a ping of years."""
    lines = [f"64 bytes from 192.0.2.1: icmp_seq={number} ttl=9 time=1.0 ms" for number in (999_999_999_999, 7, 8)]
    (one,) = read(tmp_path, "PING h (192.0.2.1) 56(84) bytes of data.\n" + "\n".join(lines)).values()
    assert len(one.values) == 3 and one.samples[0][0] < one.samples[1][0] == one.samples[2][0] - 1


def test_the_file_s_name_says_who_pinged_whom(tmp_path: Path) -> None:
    assert list(read(tmp_path, SAME["Linux"], "paris_to_rome.txt")) == ["rome"]
    assert list(read(tmp_path, SAME["Linux"], "x.txt", src="paris", dst="oslo")) == ["oslo"]
    assert list(read(tmp_path, SAME["Linux"], "x.txt", src="paris", rename={"host": "bonn"})) == ["bonn"]


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        (LINUX, {}, "x.txt:1: ping does not say where it ran; say --from REGION, or call the file FROM_to_TO.txt"),
        (LINUX, {"src": "host"}, "x.txt:1: host pings itself; name both sides with --from and --to"),
        (
            "rtt min/avg/max/mdev = 11.1/12.2/13.3/0.5 ms\n",
            {"src": "me"},
            "x.txt:1: does not say what was pinged; say --to",
        ),
        ("nothing here\n", {"src": "me"}, "x.txt:1: holds no output of ping"),
        (LINUX.replace("seq=1 ", f"seq={'9' * 30} "), {"src": "me"}, f"x.txt:2: '{'9' * 30}' is no count of packets"),
        (LINUX.replace("seq=1 ", f"seq={'9' * 5000} "), {"src": "me"}, " is no count of packets"),
        ("rtt min/avg/max/mdev = 1/192.0.2.1/3/1 ms\n", {"src": "me"}, "x.txt:1: '192.0.2.1': write a number"),
        ("64 bytes from h: icmp_seq=1 ttl=9 time=" + "9" * 400 + " ms\n", {"src": "me"}, "9...: write a number"),
        ("h : xmt/rcv/%loss = " + "9" * 5000 + "/1/0%\n", {"src": "me"}, " is no count of packets"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, text: str, options: dict[str, str], says: str) -> None:
    with pytest.raises(BadInput) as caught:
        ping.round_trips(text, tmp_path / "x.txt", Options(**options))  # type: ignore[arg-type]
    assert says in str(caught.value)
