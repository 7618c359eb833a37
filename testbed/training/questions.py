"""Questions to put to a chat model, so that it says how it answers: every form with every topic, shuffled once.

Rule: the topics of the shipped prompt set `questions` are not among them (tests/training/test_drafter.py), so a drafter
made from the answers has seen none of its prompts.
"""

from __future__ import annotations

import random

CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"  # as SmolLM2's own template writes one turn

FORMS = (
    "Tell me about {}.",
    "Explain {} to a child.",
    "Why do people care about {}?",
    "Give me three tips about {}.",
    "Write a short story about {}.",
    "Write a short poem about {}.",
    "What are the benefits of {}?",
    "Write an email to a friend about {}.",
    "List five facts about {}.",
    "How did {} change the world?",
    "What should a beginner know about {}?",
    "Describe {} in two sentences.",
)

TOPICS = (
    *("bicycles", "the Roman Empire", "photosynthesis", "chess", "volcanoes", "bread", "the printing press"),
    *("honey bees", "coffee", "the Great Wall of China", "electric cars", "jazz music", "the moon", "swimming"),
    *("glaciers", "maps", "public libraries", "vaccines", "the steam engine", "rainforests", "football"),
    *("paper", "dolphins", "gravity", "the French Revolution", "meditation", "wind power", "cheese"),
    *("the internet", "whales", "trains", "soil", "human rights", "deserts", "the violin", "recycling"),
    *("penguins", "black holes", "rice", "the human heart", "ancient Egypt", "camping", "solar panels"),
    *("butterflies", "the stock market", "clocks", "rivers", "salt", "painting", "the brain", "robots"),
    *("earthquakes", "tea", "wolves", "democracy", "the ocean", "bridges", "sleep", "the Olympic Games"),
    *("mushrooms", "cats", "computer programming", "tides", "silk", "astronomy", "yoga", "owls", "gardening"),
    *("the Silk Road", "lightning", "chocolate", "running", "dinosaurs", "money", "snow", "the guitar"),
    *("friendship", "antibiotics", "ships", "horses", "the alphabet", "fire", "potatoes", "time zones"),
    *("museums", "the compass", "forests", "cooking", "the Renaissance", "batteries", "elephants"),
    *("climate change", "dance", "writing", "plastic", "lighthouses", "the telephone", "spices", "mathematics"),
    *("birds", "rockets", "islands", "the Industrial Revolution", "fishing", "glass", "teamwork", "cotton"),
    *("mountains", "the telescope", "theatre", "tomatoes", "kindness", "satellites", "wheat", "sharks"),
    *("the calendar", "cameras", "weather forecasts", "laughter", "apples", "the Vikings", "hospitals"),
    *("dreams", "poetry", "spiders", "carpentry", "the atmosphere", "trust"),
)


def training_questions() -> list[str]:
    """All of them as one turn of a chat, in the same order everywhere."""
    asked = [CHAT.format(form.format(topic)) for form in FORMS for topic in TOPICS]
    random.Random(0).shuffle(asked)
    return asked
