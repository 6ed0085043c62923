"""The Postfix of this machine as it is installed: instances, services, tables, and what they reach.

`smtp_client` models what smtp(8) does with a message; this package reads what there is.
"""
