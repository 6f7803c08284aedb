"""``report.html``: runs of the evaluation side by side, for people; one file that opens offline."""
