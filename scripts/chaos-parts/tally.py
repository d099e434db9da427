"""What came of the rounds of each kind, and the table of it."""
import statistics


class Tally:
    """What came of the rounds of one kind."""

    def __init__(self):
        self.rounds = 0
        self.hangs = 0
        self.orphans = 0
        self.wrong = 0
        self.recoveries = []
        self.beyond = []
        self.returns = []

    def row(self, kind):
        def seconds(values):
            if not values:
                return f"{'-':>8} {'-':>8}"
            ordered = sorted(values)
            return f"{statistics.median(ordered):8.3f} {ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]:8.3f}"

        return (f"{kind:<11} {self.rounds:>6} {self.hangs:>5} {self.orphans:>7} {self.wrong:>6}  "
                f"{seconds(self.recoveries)}  {seconds(self.beyond)}  {seconds(self.returns)}")


HEAD = "\n".join([
    f"{'':<11} {'':>6} {'':>5} {'':>7} {'':>6}  " + "  ".join(
        f"{title:>17}" for title in ["to next step", "beyond recompute", "until it is back"]),
    f"{'kind':<11} {'rounds':>6} {'hangs':>5} {'orphans':>7} {'wrong':>6}  "
    + "  ".join([f"{'median':>8} {'p99':>8}"] * 3),
])
