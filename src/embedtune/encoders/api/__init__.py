"""Models behind an HTTP API.

::

    encoder.py    the encoder: a provider, its address, a price
    providers/    what each provider wants to be sent, and gives
    prices.py     what tokens cost
    run.py        many texts: batches, several requests at a time, each answer kept as it comes
    asking.py     one request, until it is answered; refusals.py, answers.py: what came of it
    courier.py    the process that makes the requests, so that a kill loses none of their answers
    dispatch.py   its employer's side: recipe.py says which encoder, errand.py what comes, wire.py how
"""
