"""Changed label files."""

from random import Random

from tests.fuzz.mutate import mutated

LABELS = ("zero", "one", "two", "three", "four")


def mutated_labels(random: Random) -> bytes:
    """A file of labels for five classes, mostly."""
    lines = [*LABELS]
    match random.randrange(8):
        case 0:
            lines = lines[: random.randrange(5)]
        case 1:
            lines = ["same"] * 5
        case 2:
            lines += [random.choice(("", "x", " ", "\0", "\u2028"))] * random.choice((1, 1000))
        case 3:
            lines[random.randrange(5)] = random.choice(("", "é" * 10_000, "\x1b[2J", "a\rb", "\ufeff", " padded "))
    text = random.choice(("\n", "\r\n", "\r")).join(lines) + random.choice(("", "\n", "\r\n\r\n"))
    data = text.encode(random.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16")), errors="surrogatepass")
    return mutated(random, data) if random.random() < 0.4 else data
