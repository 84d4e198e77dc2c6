"""A finetune's card in the hub's format: its metadata, and a README that says what is known of it.

Nothing is computed here and nothing needs torch. `study_cards` fills it from a record; a finetune
writes what it knows beside the adapter, before anything is decoded.
"""
