"""How fast to spend one quota that other clients may spend too, known only from the headers of the responses.

**What is known.** Each response says how much remains, and when more will come, often in whole seconds. What remains
falls by the client's own requests and by those of others, so that their part follows.

**Four kinds of servers**, distinguished by what their headers do (`refills`, moved by `doubt`):

    windows    all comes back at one moment, known only to lie between `low` and `high`; every response cuts that
               interval, every reset that is seen cuts it again, window after window.
    sliding    what was used comes back one window after it was used. `log` is a replica of the server's log, with
               the own requests at their exact times and those of others spread evenly between two responses, so
               that the future of the quota is known for one window ahead.
    bucket     comes back at an even rate, whatever was used. The reset that it announces tells it, and the length of
               the window (`buckets`); without one, only a client that is alone can distinguish it from `sliding`.
    counter    aligned windows, of which the last one counts as far as it overlaps with the window that ends now. What
               was used in it comes back evenly until the current one ends; at that end nothing changes, which
               distinguishes it from `windows`. Two numbers describe it: the requests of the last window, and what
               remains now, with its fraction (`counters`).

A response that contradicts `windows` (a reset that wanders, a rise without a reset, a reset that brought little)
moves `doubt` up; a reset that fits, or that brought everything, moves it down. From 0.5 on the server is taken for a
sliding one, and from 0.05 down for windows again.

**The law** (explicit congestion control: RCP, Dukkipati 2007; XCP, Katabi et al. 2002, with `remaining` for the
router's feedback). Every client spends its `share` of what may be spent in total:

    windows    remaining R, time to reset T: spending at F * R / T lets R fall as (T / window) ** F. It never gets to
               zero before the reset, whatever the error of the shares, so that a few clients too many do no harm.
    sliding    the highest even rate at which the replica stays above a reserve all through the next window, and a
               slow integral term that takes up what remains unused. Clients that are guided by the level (see below)
               have the law of the bucket, within that rate.
    bucket     the rate of the refill, times exp(4 * what lies above the level / limit), between 0.22 and 2.0. A client
               that is alone spends what lies above its reserve within a tenth of a window.
    counter    what the last window gives back, and what remains, until the window ends. What counts is how much is
               spent in a whole window, not when, so that a reserve in the middle of it (a bulge) costs nothing.

The **share** is the client's own part of all that was spent in the last window. Shares measured like that add up to
one by themselves. To make them equal, the exponent F = 1 + ln(1 / share) / 7 bends the curve, so that its shape shows
how many clients spend: one with a large share aims at a flatter curve, sees the real one below and gives way. On
buckets and sliding servers it is the level that shows it: what should remain grows with the logarithm of the share.
All clients see the same level, and each moves its share by the difference to its own, so that they meet where shares
are equal. On a bucket that costs nothing, because a bucket with a reserve refills as fast as an empty one. On sliding
servers it is quota unused, so that the levels lie close together and shares become equal more slowly. Of a sliding
quota below 100 requests per window, or from 2,000 on, a client that sends few requests in a window, or is one of many,
keeps to the share that it measures. On counters it is the height of the bulge.

**Credit** is what may be spent now: it grows by the law and falls by one with every request. For a client that is
alone, the upper half of a quota is credit at once: no request waits while quota is plentiful.

A **long window**, of more than two hours, is not spread unless the caller asks for it: its turns would be further apart
than a call should wait, and a shorter window beside it sets the pace. All of it is credit at once, except the last
hundredth, of which each client has its share, so that clients are not refused there.

Around a moment at which quota should be back while none is known to be, one request goes ahead and the others wait
for its response.

The modules: `state` (what is known, and how it begins), `learning` (what a response changes), `shares` (the share),
`buckets` and `counters` (whether a server is one), `counting` (what a response of a counter changes) and `credit` (what
may be spent, and when). All is pure: a `Pace` is a dict of numbers, copied by the caller before it is changed.
"""
