"""Words that the tiny model of the tests knows, for tests that make texts of them."""

WORDS = [
    "heart",
    "lung",
    "liver",
    "kidney",
    "pain",
    "ache",
    "attack",
    "failure",
    "fever",
    "blood",
    "pressure",
    "skin",
    "rash",
    "eye",
    "ear",
    "nose",
]
