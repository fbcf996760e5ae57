"""The names under which the ledger keeps what belongs to a run as a whole."""

LIVE = "live_ensemble"  # the attribute that holds a Standing and the picks behind it
