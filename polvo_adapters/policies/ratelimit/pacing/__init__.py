"""How fast to spend one quota that others may be spending too, told by nothing but the headers of one's own answers.

**What is known.** Each answer says how much remains, and when more will come, often in whole seconds. From that and
from one's own requests follows what others took: the fall that one's own requests do not explain.

**Three kinds of servers**, told apart by what their headers do (`refills`, moved by `doubt`):

    windows    all comes back at one moment. The moment is known only to lie between `low` and `high`; every answer
               cuts that interval, every reset that is seen cuts it again, window after window.
    sliding    what was used comes back one window after it was used. `log` is a replica of the server's log, one's
               own requests at their exact times and those of others spread evenly between two answers, so that the
               future of the quota is known for one window ahead.
    bucket     comes back at an even rate, whatever was used. Only who is alone can tell it from `sliding`, and for
               others the difference does not matter.

An answer that contradicts `windows` (a reset that wanders, a rise without a reset, a reset that brought little)
moves `doubt` up; a reset that fits, or that brought everything, moves it down. At 1 and 0 the belief changes.

**The law** (explicit congestion control: RCP, Dukkipati 2007; XCP, Katabi et al. 2002, with `remaining` for the
router's feedback). Every client spends its `share` of what may be spent in total:

    windows    remaining R, time to reset T: spending at F * R / T lets R fall as (T / window) ** F. It never gets to
               zero before the reset, whatever the error of the shares, so that a few clients too many cost nothing.
    sliding    the highest even rate at which the replica stays above a reserve all through the next window, and a
               slow integral term that takes up what remains unused.
    bucket     the rate of the refill, and what lies above the reserve within a tenth of a window.

The **share** is one's own part of all that was spent in the last window. Shares measured like that add up to one by
themselves. To make them equal, the exponent F = 1 + ln(1 / share) / 7 bends the curve, so that its shape tells
how many are spending: who has a large share aims at a flatter curve, sees the real one below and gives way. On
sliding servers the reserve grows with the share, a large share is measured against all that could be spent, and who
has one slows down more where little remains, which does the same more slowly.

**Credit** is what one may spend now: it grows by the law and falls by one with every request. Alone, the upper half
of a quota is credit at once: nobody waits while quota is plentiful.

Around a moment at which quota should be back while none is known to be, one request goes ahead and the others wait for
what it learns.

All is pure: a `Pace` is a dict of numbers, copied by the caller before it is moved.
"""

from __future__ import annotations

from polvo_adapters.policies.ratelimit.pacing.credit import earn, ready_at
from polvo_adapters.policies.ratelimit.pacing.learning import learn, noted, refuse
from polvo_adapters.policies.ratelimit.pacing.state import NEWCOMER, Pace, Seen, first, refreshed, shared

__all__ = [
    "NEWCOMER",
    "Pace",
    "Seen",
    "earn",
    "first",
    "learn",
    "noted",
    "ready_at",
    "refreshed",
    "refuse",
    "shared",
]
