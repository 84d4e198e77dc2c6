"""The one way to the hub: a commit's files, whole, compared with their checksums, in its cache."""
