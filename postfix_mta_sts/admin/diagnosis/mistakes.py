"""Gather what `mtasts.mistakes` looks at, and look at near names if a record is not there."""

from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.mtasts.errors import CertificateError
from postfix_mta_sts.mtasts.mistakes import MailName, Mistake, Seen, Texts, find_mistakes
from postfix_mta_sts.mtasts.record import record_name
from postfix_mta_sts.mtasts.tlsrpt_record import tlsrpt_name
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.near_names import look_up_near_names
