"""The user's own answers: what their own program gives for some images, and whether an artifact gives the same.

answers.py       the file of answers (docs/expected.md)
check.py         the check `expected`
causes.py        on failure: what was probably exported otherwise than it was trained
alternatives.py  other ways of preparing an image, to find the one that explains the answers
"""
