"""Large budget sweeps: many studies declared in one file, brought to completion by one driver, within limits.

`declaration` is what the file says, `schema` what it may say; both know no Ray.
"""
