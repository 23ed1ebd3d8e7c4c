"""What Google takes as a name, as regular expressions for `re.fullmatch`.

As its discovery document has them, but for the zone: there any name would do.
"""

NAME = r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?"
PROJECT = rf"(?:(?:[-a-z0-9]{{1,63}}\.)*{NAME}:)?(?:[0-9]{{1,19}}|[a-z0-9](?:[-a-z0-9]{{0,61}}[a-z0-9])?)"
ZONE = r"[a-z]+(?:-[a-z]+)+\d+-[a-z][a-z0-9]*"
