"""Values of If-Match and If-None-Match (RFC 9110, section 13) for a resource of version 1."""

# Headers with syntax errors, for example an unquoted tag or a list that contains a star.
MALFORMED_TAGS = [
    "1",
    "W/1",
    'w/"1"',
    'W/ "1"',
    '"1',
    '1"',
    '"',
    '"1" "2"',
    '"1""2"',
    '"1"; "2"',
    '"1", *',
    '*, "1"',
    "**",
    '"a b"',
    "'1'",
    "null",
    '"1",' * 2000 + "x",
]
# Valid entity tags that are not the current version.
OTHER_TAGS = [
    '""',
    '"0"',
    '"-1"',
    '"01"',
    '"+1"',
    '"1.0"',
    '"1_"',
    '"xyzzy"',
    '"é"',
    '"2147483647"',
    '"2147483648"',
    '"9223372036854775808"',
    f'"{"9" * 5000}"',
    f'"{"1" * 40}"',
]
# Valid lists of entity tags that contain the current version, which is 1.
LISTS_WITH_CURRENT_TAG = [
    '"7", "1"',
    '"1","7"',
    '"7" , W/"1"',
    '"xyzzy", "1"',
    ',"1",,',
    '"a,b", "1"',
    '\t"1" ',
]
