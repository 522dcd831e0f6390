"""A hash of each scheme that is taken over."""

from __future__ import annotations

PASSWORD = "secretpw"
# Each is a hash of the password, made with `doveadm pw` of Dovecot 2.3.
HASHES = [
    "{BLF-CRYPT}$2y$05$wp/6tPfdHgVPWW927UHT/.PYYwhIkRijWv/lSvHEejbJ8JtM8S7TS",
    "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$45R8NCpAYNO9ZG1YCQZ3vA"
    "$bYD7g82ztoFK+pScrwYbxIfSBJyTjSJFEBX8J2XHBuQ",
    "{SHA512-CRYPT}$6$hja8YQ7hGqDTgVCg$XQLntAMNf6HGV0DELJKbTrW20xUq7T5Ldvc."
    "iaisIScP42LgcITQ/hQ208gRd8U5gQPnHY1KWwcTVFz.UytyO.",
    "{SHA256-CRYPT}$5$QRJbBLQ.6CP7J7F1$qZW.gaf3T6hjKjs02i6MztAHtmVf7MScU2eAQG8bVt5",
    "{SSHA512}NLHuW0+SQlW1x9PwG1cZTr7tKiJZaHYCjgzlgeD5YhdmL/Il1gRLWPn6NlRVMOm1AZ1Yhbet50S4LvBm"
    "li8sT9vrhLQ=",
    "{SSHA256}msvxsjfyLY5MrfAynKWcCMofxiHwB4qCqi9j/6RSTIlFpfxO",
]
