"""What is measured: one module a topic, each with functions that take the stand and return rows.

A measurement is `async def measure(stand: Stand) -> list[Row]`. It opens line-ups or single
gateways on the stand, takes `stand.options.runs` samples of each gateway in turns (run k of every
gateway before run k+1 of any), and returns one `Row` a gateway and measurement, those with a `no`
included. `registry` lists every measurement by the name that `--only` takes.
"""
