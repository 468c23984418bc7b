"""Search: budgets go in, the best files that keep them come out.

`budget` says what is accepted, `space` which recipes there are for a model on a target, `rungs` makes and judges one,
the cheapest look first, `front` keeps what nothing beats, `trials` remembers all of them, `run` is the loop. `storage`
lets workers share the trials, `crew` starts them, `pool` shares devices, `exchange` brings each folder the whole front.
"""
