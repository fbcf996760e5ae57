"""Members: the stored predictions of trained models, of labels and of texts, and how alike texts are.

May import: models.
A new kind of stored prediction is a file here.
"""
