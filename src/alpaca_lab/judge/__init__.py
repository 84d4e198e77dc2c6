"""A language model as a judge of answers: a model's opinion, never people's.

Nothing here fills the Human column. Each number is of one judge, named with its weights, and stands
on a page that says so.

    pairs           what is judged: an answer beside the reference, or beside its own greedy answer
    prompt          the question that the judge is asked, in one wording
    model           the judge itself: a checkpoint, and the logits of the letters A and B
    record          what is on disk of a judging
    judging         asks in both orders, appends each judgement, resumes, seals
    stage           a study's judging from start to seal
    verdicts_table  judgements to win rates with intervals, and their agreement with people
    people          what people rate of the same study
    command         `python -m alpaca_lab judge`
"""
