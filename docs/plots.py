"""Draws the pictures of the documentation anew: `python docs/plots.py`, with the extra `plots` installed.

Each picture shows runs of the benchmarks `crowd` and `overload`, from the same seed, and a picture of the same run is
the same file, byte for byte: what changes here has changed in the library. The pictures are kept with the
documentation, so that readers need neither the simulation nor matplotlib. Names of pictures on the command line draw
only these: `python docs/plots.py overload-load`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# What follows lies beside this directory, and need not be installed.
from polvo_adapters.testing.simulation.crowd import CrowdClient  # noqa: E402
from polvo_adapters.testing.simulation.overload import OverloadSample  # noqa: E402
from tests.benchmarks import overload  # noqa: E402
from tests.benchmarks.crowd import POPULATIONS, UNSETTLED_WINDOWS, Setting, clients, simulate  # noqa: E402

STATIC = ROOT / "docs" / "_static"
ACCEPTED, REJECTED, OTHERS = "#2a7f9e", "#d1495b", "#b0b7bd"
STRATEGIES = {
    "greedy": ("asks on and on", "#b0b7bd"),
    "backoff": ("exponential backoff", "#edae49"),
    "retry-after": ("obeys Retry-After", "#d1495b"),
    "told": ("told its part of the rate", "#66a182"),
    "adaptive": ("Adaptive", "#00798c"),
}
KINDS = {"fixed": "o", "aligned": "s", "sliding": "^", "counter": "v", "gcra": "D"}
OVERLOAD_STRATEGIES = {
    "none": ("no retries", "#b0b7bd"),
    "urllib3": ("urllib3, Retry(3)", "#d1495b"),
    "tenacity": ("tenacity, five attempts", "#edae49"),
    "ours": ("polvo_adapters", "#00798c"),
}
OUTAGE = overload.Setting(kind="metastable", clients=1000, end=130.0)
EIGHT = Setting(clients=8, threads=4, limit=200, window=4.0, windows=12)


def resets() -> Figure:
    """Requests around resets: eight clients at a fixed window of 200 per 4 s."""
    figure, all_axes = plt.subplots(3, 1, figsize=(7.5, 5), sharex=True, sharey=True)
    for axes, strategy in zip(all_axes, ("greedy", "retry-after", "adaptive"), strict=True):
        result = simulate(EIGHT, strategy)
        reset, grain = result.windows[6].begin, result.grain
        first, last = int((reset - 1) / grain), int((reset + 9) / grain)
        edges = [number * grain - reset for number in range(first, last + 1)]
        accepted = [counted.accepted for counted in result.grains[first:last]]
        asked = [counted.accepted + counted.rejected for counted in result.grains[first:last]]
        axes.stairs(asked, edges, baseline=accepted, fill=True, color=REJECTED, label="turned away")
        axes.stairs(accepted, edges, fill=True, color=ACCEPTED, label="accepted")
        axes.set_title(STRATEGIES[strategy][0], loc="left", fontsize="medium")
    all_axes[0].legend(loc="upper right", ncols=2, frameon=False, bbox_to_anchor=(1, 1.3))
    all_axes[1].set_ylabel("requests per 0.1 s")
    all_axes[2].set_xlabel("seconds from a reset")
    return figure


def strategies() -> Figure:
    """What is used of the quota, and what is turned away: a hundred clients, 1,000 requests per 10 s."""
    figure, axes = plt.subplots(figsize=(7.5, 4.5))
    for (strategy, (name, color)), (kind, marker) in product(STRATEGIES.items(), KINDS.items()):
        settled = simulate(POPULATIONS["100"]._replace(kind=kind), strategy).over(UNSETTLED_WINDOWS)
        label = name if kind == "fixed" else None
        axes.scatter(settled.rejected_part, settled.goodput, 45, color=color, marker=marker, alpha=0.85, label=label)
    for kind, marker in KINDS.items():
        axes.scatter([], [], 45, color="black", marker=marker, label=kind)
    axes.set_xscale("symlog", linthresh=0.01)
    axes.set_xlim(-0.001, 1.1)
    axes.set_xticks([0, 0.01, 0.1, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("turned away, of all requests")
    axes.set_ylabel("used of the quota")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def newcomer() -> Figure:
    """The shares of eight clients and of a ninth that joins them."""
    figure, all_axes = plt.subplots(1, 2, figsize=(7.5, 3.5), sharey=True)
    for axes, kind in zip(all_axes, ("fixed", "gcra"), strict=True):
        setting = EIGHT._replace(kind=kind, windows=24)
        crowd = [*clients(setting), CrowdClient(setting.threads, joins=8 * setting.window)]
        windows = list(enumerate(simulate(setting, "adaptive", crowd).windows, 1))
        for client, wants in enumerate(crowd):
            there = [(number, window) for number, window in windows if window.begin + window.seconds > wants.joins]
            shares = [window.served[client] / window.quota for _, window in there]
            color, width, label = (REJECTED, 2, "the newcomer") if wants.joins else (OTHERS, 1, None)
            axes.plot([number for number, _ in there], shares, color=color, linewidth=width, label=label)
        axes.axhline(1 / len(crowd), color="black", linewidth=0.6, linestyle="--", label="a ninth")
        axes.set_title(f"server: {kind}", loc="left", fontsize="medium")
        axes.set_xlabel("window")
    all_axes[0].set_ylim(0)
    all_axes[0].set_ylabel("part of the quota")
    all_axes[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    all_axes[1].legend(loc="upper right", frameon=False)
    return figure


@lru_cache
def _overload(strategy: str) -> Sequence[OverloadSample]:
    """Simulate a thousand clients and a server that has a tenth of its capacity for a while; second by second."""
    result = overload.simulate(OUTAGE, strategy)
    return [result.over(second, second + 1) for second in range(int(OUTAGE.end))]


def load() -> Figure:
    """Requests at the server."""
    figure, all_axes = plt.subplots(2, 2, figsize=(7.5, 4.5), sharex=True, sharey=True)
    for axes, (strategy, (name, color)) in zip(all_axes.flat, OVERLOAD_STRATEGIES.items(), strict=True):
        requests = [grain.requests for grain in _overload(strategy)]
        _outage(axes)
        axes.stairs(requests, range(len(requests) + 1), fill=True, color=color)
        axes.axhline(OUTAGE.rate / overload.LOAD, color="black", linewidth=0.6, linestyle="--", label="capacity")
        axes.set_title(name, loc="left", fontsize="medium")
    all_axes[0, 0].legend(loc="upper right", frameon=False)
    all_axes[0, 0].set_xlim(0, OUTAGE.end)
    for axes in all_axes[1]:
        axes.set_xlabel("seconds")
    for axes in all_axes[:, 0]:
        axes.set_ylabel("requests per second")
    figure.tight_layout()
    return figure


def served() -> Figure:
    """The part of the calls that is served, in the same runs."""
    figure, axes = plt.subplots(figsize=(7.5, 3))
    _outage(axes)
    for strategy, (name, color) in OVERLOAD_STRATEGIES.items():
        parts = [grain.served_part for grain in _overload(strategy)]
        dashes = "--" if strategy == "tenacity" else "-"  # it lies upon another at zero
        axes.stairs(parts, range(len(parts) + 1), baseline=None, color=color, label=name, linewidth=1.6, ls=dashes)
    axes.set_xlim(0, OUTAGE.end)
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("seconds")
    axes.set_ylabel("calls served")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False, columnspacing=1.2)
    return figure


def _outage(axes: Axes) -> None:
    axes.axvspan(OUTAGE.begin, OUTAGE.back, color="#eeeeee", linewidth=0)


PICTURES: dict[str, Callable[[], Figure]] = {
    "ratelimit-resets": resets,
    "ratelimit-strategies": strategies,
    "ratelimit-newcomer": newcomer,
    "overload-load": load,
    "overload-served": served,
}


def main(names: Sequence[str] = ()) -> None:
    """Draw all of them, or those with these names."""
    plt.rcParams.update(
        {
            "svg.hashsalt": "polvo",
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    STATIC.mkdir(exist_ok=True)
    for name in names or PICTURES:
        figure = PICTURES[name]()
        # A date or the release of matplotlib would make every drawing a change.
        nothing = {"Date": None, "Creator": None}
        figure.savefig(STATIC / f"{name}.svg", bbox_inches="tight", metadata=nothing)
        plt.close(figure)


if __name__ == "__main__":
    main(sys.argv[1:])
