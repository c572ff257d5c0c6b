"""Brings the model and the data of a run into a private cache, hashed, described and bound to roles.

Nothing here is trusted and nothing here is executed: a model is a set of files with a description that we read
ourselves, a table is text or parquet. What is wrong with either becomes a `Problem`, so that the audit goes on and
says so.
"""
