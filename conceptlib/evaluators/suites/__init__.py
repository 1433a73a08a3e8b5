"""Suites of metrics, one file each, with `Params` and `plan(job) -> Plan`; adding a file is enough to register one."""
