"""Which model? Artifacts side by side: measured here, errors measured or published, charts, a report, and a
recommendation.

    subjects  →  rounds (each model in a process of its own: measure)  →  comparison  →  recommend, text, charts, page

Nothing here needs torch, unless a model has to be exported first or torchvision's published figures are looked up.
"""
