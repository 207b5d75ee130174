"""The log outside its database: the static tree that anybody may mirror, a log read over HTTP, and C2SP witnesses."""
