"""Runs inside the container, with its Python alone: a user who sends and reads.

send FROM TO SUBJECT            by SMTP from this host
submit ADDRESS PASSWORD SUBJECT SIZE    to oneself, over port 587 with TLS; prints the answer
read ADDRESS PASSWORD SUBJECT   waits until the INBOX has it; prints how many messages there are
idle ADDRESS PASSWORD           a session; prints `open`, then `ended` and after how many seconds
"""

import imaplib
import smtplib
import ssl
import sys
import time

HERE = "127.0.0.1"
TLS = ssl.create_default_context()
TLS.check_hostname, TLS.verify_mode = False, ssl.CERT_NONE


def message(sender, recipient, subject, size=10):
    head = f"From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: {subject}\r\n\r\n"
    return head + ("x" * 70 + "\r\n") * (int(size) // 72 + 1)


def send(sender, recipient, subject):
    with smtplib.SMTP(HERE, 25, timeout=30) as smtp:
        smtp.sendmail(sender, [recipient], message(sender, recipient, subject))


def submit(address, password, subject, size):
    with smtplib.SMTP(HERE, 587, timeout=30) as smtp:
        smtp.starttls(context=TLS)
        smtp.login(address, password)
        try:
            smtp.sendmail(address, [address], message(address, address, subject, size))
            print("taken")
        except smtplib.SMTPRecipientsRefused as error:
            print(*error.recipients[address])


def read(address, password, subject):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with imaplib.IMAP4_SSL(HERE, 993, ssl_context=TLS) as imap:
            imap.login(address, password)
            _, counted = imap.select("INBOX", readonly=True)
            _, found = imap.search(None, "SUBJECT", subject)
            if found[0]:
                print(int(counted[0]))
                return
        time.sleep(0.1)
    sys.exit(f"no {subject} within 30 seconds")


def idle(address, password):
    imap = imaplib.IMAP4_SSL(HERE, 993, ssl_context=TLS)
    imap.login(address, password)
    imap.select("INBOX")
    print("open", flush=True)
    imap.sock.settimeout(30)
    while imap.sock.recv(1000):
        pass
    print("ended", flush=True)


if __name__ == "__main__":
    {"send": send, "submit": submit, "read": read, "idle": idle}[sys.argv[1]](*sys.argv[2:])
