"""Verified domains: which names an organization has proven to hold, and what is refused outside of them.

Names as they are compared (`names`), the look-up in the DNS (`records`), what follows from one (`states`), the
operations of admins (`verification`), the daily look-ups (`daily_checks`), and the policy for addresses (`policy`).
`dnspython` and the list of public suffixes are imported where they are first used.
"""
