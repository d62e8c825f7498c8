"""Held-out interactions of the zero-shot settings, as zero-based HOI ids.

======================  ======  ===================================================
name                    unseen  held out
======================  ======  ===================================================
``ua``                  100     every interaction of 22 verbs (ConsNet, EoID)
``uc0`` ... ``uc4``     120     combinations, five random sets (Bansal et al. 2019)
``rf_uc``               120     rare combinations first (VCL, GEN-VLKT)
``rf_uc_138``           138     all rare interactions: EoID's released "rare_first"
``nf_uc``               120     frequent combinations first (GEN-VLKT, EoID)
``uo``                  100     every interaction of 12 objects (ConsNet)
``uv``                  84      every interaction of 20 verbs (GEN-VLKT)
======================  ======  ===================================================

``ua`` and ``uv`` share only 8 interactions; numbers of the two do not compare. EoID's paper reports
RF-UC for ``rf_uc``, its released re-run for ``rf_uc_138``.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from .vocabulary import HOI_OBJECT, HOI_VERB, OBJECTS, VERBS

_RARE = """
8 22 27 44 50 55 62 63 66 70 76 77 80 83 84 90 99 100 104 107 112 127 135 136 149 158 165 166
168 172 179 181 184 188 189 192 195 198 205 206 214 216 222 227 229 238 239 254 255 257 260 261
262 274 279 280 281 286 289 292 303 311 315 317 325 328 333 334 345 350 351 354 358 364 379 381
389 390 391 395 397 398 399 401 402 403 404 405 407 410 416 418 426 427 429 431 436 439 440 449
451 463 469 474 482 485 498 499 504 509 514 517 520 522 526 531 535 539 546 547 548 549 550 551
552 555 556 560 578 580 581 586 592 593 595 596 597 599
"""

# Rare, but seen in RF-UC so that every verb and object keeps a seen interaction.
_RARE_SEEN_IN_RF_UC = '63 112 165 166 172 214 227 328 404 426 431 451 514 549 550 551 578 580'

_NF_UC = """
6 7 9 11 18 19 20 23 25 29 38 41 42 45 48 53 54 56 60 61 64 67 73 75 89 91 93 94 106 110 115 131
139 140 141 146 152 153 154 155 159 162 163 169 173 176 185 190 191 193 197 208 212 215 218 223
226 228 230 240 245 246 248 249 250 266 284 294 297 304 308 312 320 323 329 337 338 340 346 370
371 374 377 383 385 387 417 446 455 456 457 459 461 470 471 472 478 479 480 481 483 493 506 508
515 516 518 529 534 544 559 566 572 575 576 577 582 583 589 594
"""

_UC = (
    """
0 1 10 29 30 41 48 50 56 57 69 72 80 81 92 93 96 109 110 114 127 134 139 161 170 177 183 189 191
197 198 201 208 209 221 227 229 232 233 235 239 242 245 247 250 252 260 263 270 271 280 286 288
290 299 301 308 316 325 334 336 343 344 352 355 356 357 363 375 376 380 384 387 389 395 396 397
404 408 413 414 417 422 425 433 434 436 444 448 452 454 455 463 480 484 488 498 503 505 507 513
516 527 530 532 536 537 540 546 547 550 555 561 562 566 567 572 581 587 598
    """,
    """
0 3 22 29 32 52 58 63 72 73 78 89 91 92 105 106 107 113 137 148 163 165 172 178 179 194 196 207
209 210 214 215 229 231 233 234 236 240 241 243 245 247 252 254 260 262 269 272 282 286 289 292
296 302 310 315 322 326 333 335 338 340 343 347 350 351 353 354 358 362 367 368 376 380 388 389
393 395 397 399 410 412 416 417 419 420 429 434 439 441 445 449 454 467 476 483 495 503 507 511
519 528 529 535 537 539 547 548 556 557 561 563 565 569 579 587 589 591 595 597
    """,
    """
9 25 30 49 51 61 71 74 77 82 94 108 110 116 126 131 143 164 168 177 185 200 201 208 212 229 232
234 239 241 243 244 248 255 256 258 259 266 272 279 281 287 288 290 294 295 301 305 308 319 322
325 328 330 332 337 344 347 349 350 356 359 366 367 370 375 378 380 386 387 390 391 400 406 409
411 416 419 428 429 431 436 439 443 445 447 449 451 454 457 466 468 477 479 485 486 491 497 504
508 510 516 527 529 531 533 536 544 545 546 549 550 552 558 561 568 589 594 596 599
    """,
    """
4 14 26 27 41 45 51 53 62 69 74 80 88 91 92 93 100 107 110 125 127 130 136 152 153 163 167 170
177 183 186 188 196 200 207 210 217 220 225 232 237 242 243 246 248 252 253 263 267 270 280 285
289 291 292 302 312 316 325 335 341 343 348 355 356 362 363 368 378 382 384 385 390 394 396 404
406 407 415 416 426 428 429 431 435 441 443 448 450 452 454 460 467 469 479 480 483 498 503 505
509 518 524 532 533 541 549 551 560 561 566 572 573 579 580 585 587 594 595 599
    """,
    """
0 4 28 29 42 43 49 53 55 56 66 72 80 81 87 90 92 94 100 103 109 110 129 137 149 159 166 167 170
171 179 182 189 193 194 195 201 206 236 237 244 245 248 249 254 255 257 258 266 270 290 292 300
303 316 317 326 327 331 333 339 340 345 347 349 350 352 353 357 362 365 366 375 380 381 383 385
395 396 425 426 446 448 450 451 458 466 470 474 476 485 487 494 495 504 505 509 515 516 525 528
529 536 537 539 541 546 548 556 557 568 572 578 582 585 586 590 593 595 597
    """,
)

_UA_VERBS = (
    'carry catch exit greet hop_on hose hunt lasso launch pet pick_up pull race run scratch sip '
    'sit_at smell stand_on stop_at straddle text_on'
)
_UV_VERBS = (
    'block dribble feed herd hose inspect install move park ride sail scratch sign squeeze stab '
    'stop_at swing tag toast wear'
)
_UO_OBJECTS = (
    'dog elephant zebra frisbee skis baseball_bat skateboard tennis_racket pizza refrigerator '
    'clock toothbrush'
)


def _ids(text: str) -> np.ndarray:
    return np.array(text.split(), dtype=np.int64)


def _of_verbs(names: str) -> np.ndarray:
    return np.flatnonzero(np.isin(HOI_VERB, [VERBS.index(name) for name in names.split()]))


def _of_objects(names: str) -> np.ndarray:
    return np.flatnonzero(np.isin(HOI_OBJECT, [OBJECTS.index(name) for name in names.split()]))


RARE: Final[np.ndarray] = _ids(_RARE)
"""(138,) int64, interactions with fewer than 10 annotated training pairs."""

_SPLITS = {
    'ua': _of_verbs(_UA_VERBS),
    **{f'uc{i}': _ids(text) for i, text in enumerate(_UC)},
    'rf_uc': np.setdiff1d(RARE, _ids(_RARE_SEEN_IN_RF_UC)),
    'rf_uc_138': RARE,
    'nf_uc': _ids(_NF_UC),
    'uo': _of_objects(_UO_OBJECTS),
    'uv': _of_verbs(_UV_VERBS),
}

SPLITS: Final[tuple[str, ...]] = tuple(_SPLITS)
"""Names that :func:`unseen_hois` knows."""


def unseen_hois(unseen: str | Sequence[int] | np.ndarray | None) -> np.ndarray:
    """Resolve a split argument to held-out interactions.

    Args:
        unseen: a name of :data:`SPLITS`, zero-based HOI ids, or None for nothing held out.

    Returns:
        (U,) int64, the U unseen HOI ids in ascending order; a fresh array.

    Raises:
        ValueError: unknown name, or ids that are not integers in 0-599, or ids given twice.
    """
    if unseen is None:
        return np.zeros(0, dtype=np.int64)
    if isinstance(unseen, str):
        if unseen not in _SPLITS:
            raise ValueError(f"unknown split '{unseen}'; known splits: {', '.join(SPLITS)}")
        return _SPLITS[unseen].copy()
    given = np.asarray(unseen)
    if given.size == 0:
        return np.zeros(0, dtype=np.int64)
    if given.ndim != 1 or given.dtype.kind not in 'iu':
        raise ValueError(f'unseen must be a split name or a list of HOI ids, got {unseen!r:.80}')
    outside = given[(given < 0) | (given >= len(HOI_VERB))]
    if outside.size:
        raise ValueError(f'unseen HOI ids must lie in 0-{len(HOI_VERB) - 1}, got {outside[0]}')
    ids, counts = np.unique(given.astype(np.int64), return_counts=True)
    if (counts > 1).any():
        raise ValueError(f'unseen HOI id {ids[counts > 1][0]} is given twice')
    return ids
