"""The limits of the tamper measures: found at 300 px, on 219 photos of people and desks and on six clips."""

FROZEN_AFTER_S = 30.0
"""Not one pixel has changed for so long: a real sensor always has noise."""
LIGHT_EVERY_S = 0.1
CHECK_EVERY_S = 0.5
GAP_S = 2.0
"""No frame for so long means that the camera was closed: what must last is timed anew."""
MIN_OPEN_BLOCKS = 32
"""With fewer blocks outside the policy's masks there is too little picture to judge."""

COVERED_GREY = 1.2
COVERED_CONTRAST = 0.03
"""Covered: 95 % of the blocks stand out from their surroundings by less than the larger of COVERED_GREY
levels and this share of the brightness. Photos have at least 4.4 times the limit, the clips 2.6 times; even
covers with a vignette at most 0.83 times with noise of sigma 5, 1.3 times with sigma 10."""
DARK_GREY = 11.0
"""Dark: three blocks in four below this. Darkening photos so far costs SSD MobileNet half of its recall of
people (0.86 in daylight, 0.59 at 13 levels, 0.35 at 9). One night photo of the 219 lies under it; the 1st
percentile is 64, the clips lie at 147 and above."""
WHITE_GREY = 250.0
"""A block is burnt out from here on: noise and rounding keep a mean from 255 even where all is white."""
LEAVE = 1.25
"""Covered and dark are left at limits higher by this, lest a picture on the limit flutter."""

SOFT_FLOOR = 0.12
"""Sharpness below which any picture is out of focus. Sharp photos and clips lie at 0.19 and above; photos
blurred by sigma 4 px at 0.113 and below, by 3 px at 0.09 (median; 0.119 at the 95th percentile)."""
SOFT_CEILING = 0.17
"""No sharp photo or clip lies under this, so that no fall from a reference counts above it."""
SOFT_RATIO = 0.5
"""Fall from the learned reference that counts: a blur of sigma 2 px leaves 0.43 (median; 0.50 at the 95th
percentile), the clips stay above 0.71 of theirs."""
SOFT_HOLD_S = 3.0
SOFT_LEARN_S = 10.0
SOFT_TAU_S = 600.0

ALIKE_NCC = 0.7
FLAT_GREY = 2.0
"""Standard deviation under which a neighbourhood has nothing to match; flat then and flat now is alike."""
MOVED_SHARE = 0.15
"""Share of neighbourhoods still alike under which the view is another. A person over 60 % of the picture
leaves 0.24 (5th percentile; 0.23 with other light as well), light from one side at least 0.5, the clips at
least 0.61; a shift by 10 % of the width leaves 0.07, a turn by 20 degrees 0.09, another view 0.02 (medians of
120 photos). Before a bare wall a turned camera looks as people who moved do: it is not called moved until
nearly all has changed."""
MOVED_HOLD_S = 5.0
MOVED_LEARN_S = 30.0
MOVED_TAU_S = 300.0
RELEARN_S = 60.0
