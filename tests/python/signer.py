#!/usr/bin/env python3
"""A second signing service, as small as can be: `signer.py sigconfig.toml`.

It is written from docs/signer-protocol.md, docs/signing.md and docs/formats.md, and shares nothing with this project's
programs but these. It serves the one connection of its configuration until an Issue is on the chain, and signs with
ed25519 keys that are in the file. It is here to show that the documents are enough; there is no policy and no log in it.
"""

import base64
import hashlib
import json
import sys
import time
import tomllib

from cryptography.exceptions import InvalidTag
from nacl import bindings
from nacl.signing import SigningKey
from noise.connection import Keypair, NoiseConnection
from noise.exceptions import NoiseInvalidMessage
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

# Formats: base32, and the container of keys and signatures.
ALPHABET = ("abcdefghijkmnpqrstuvwxyz23456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
ED25519 = 1


def seal(data: bytes) -> str:
    payload = bytes([0x92, ED25519, 0xC4, len(data)]) + data
    width = 5 - (len(payload) + 1) % 5
    width += 5 if width < 3 else 0
    whole = bytes([width]) + payload + hashlib.sha224(payload).digest()[-width:]
    return base64.b32encode(whole).decode().translate(str.maketrans(ALPHABET[1], ALPHABET[0]))


def unseal(text: str) -> bytes:
    whole = base64.b32decode(text.translate(str.maketrans(*ALPHABET)))
    data = whole[5 : -whole[0]]
    if seal(data) != text:
        raise ValueError("not an ed25519 key")
    return data


def public_key(npub: str) -> bytes:
    data = unseal(npub.removeprefix("npub"))
    if data[0] != 32 or len(data) != 33:
        raise ValueError("not an ed25519 public key")
    return data[1:]


def signing_key(table: dict) -> SigningKey:
    data = unseal(table["priv_key"].removeprefix("npvt"))
    key = SigningKey(data[1:33])
    if bytes(key.verify_key) != public_key(table["pub_key"]):
        raise ValueError("pub_key and priv_key are no pair")
    return key


# The handshake.
def noise(identity: SigningKey, server: str) -> NoiseConnection:
    seed_and_public = bytes(identity) + bytes(identity.verify_key)
    state = NoiseConnection.from_name(b"Noise_IK_25519_ChaChaPoly_SHA256")
    state.set_as_initiator()
    state.set_prologue(b"ndau-signer/1")
    ours = bindings.crypto_sign_ed25519_sk_to_curve25519(seed_and_public)
    theirs = bindings.crypto_sign_ed25519_pk_to_curve25519(public_key(server))
    state.set_keypair_from_private_bytes(Keypair.STATIC, ours)
    state.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, theirs)
    state.start_handshake()
    return state


# What is signed.
def fields(pairs: list) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is given twice")
    return found


def signable(request: dict) -> bytes:
    tx = request["tx"]
    if request["tx_type"] != "Issue" or tx.keys() != {"qty", "sequence", "signatures"} or tx["signatures"] != []:
        raise ValueError("not an unsigned Issue")
    for number, most in ((tx["qty"], 30_000_000 * 10**8), (tx["sequence"], 2**63 - 1)):
        if type(number) is not int or not 1 <= number <= most:
            raise ValueError("a number that cannot be")
    return tx["qty"].to_bytes(8, "big") + tx["sequence"].to_bytes(8, "big")


def answer(request: dict, keys: dict) -> dict:
    message = signable(request)
    signatures = [
        {"key": npub, "signature": seal(keys[npub].sign(message).signature)}
        for npub in dict.fromkeys(request["signing_keys"])
        if npub in keys
    ]
    return {"type": "signatures", "id": request["id"], "signatures": signatures}


def serve(url: str, state: NoiseConnection, npub: str, keys: dict) -> bool:
    """One session; whether its Issue is on the chain."""
    # From the signatures until `done` the integration answers no ping.
    with connect(url, subprotocols=["ndau-signer.1"], proxy=None, ping_timeout=None) as socket:
        socket.send(bytes(state.write_message(npub.encode())))
        state.read_message(socket.recv())

        def say(message: dict) -> None:
            socket.send(state.encrypt(json.dumps(message).encode()))

        say({"type": "hello", "version": "python", "keys": len(keys)})
        asked = False
        while True:
            text = state.decrypt(socket.recv())
            try:
                message = json.loads(text, object_pairs_hook=fields)
                print(message, flush=True)
                match message["type"]:
                    case "sign_tx" if not asked:
                        asked = True
                        say(answer(message, keys))
                    case "done":
                        return message["outcome"] in ("committed", "not_needed")
                    case "error":
                        return False
                    case _:
                        raise ValueError("an unknown type, or a second request in one session")
            except (AttributeError, KeyError, TypeError, ValueError) as problem:
                print(repr(problem), flush=True)
                say({"type": "error", "message": "not understood"})
                socket.close(1008)
                return False


def main() -> None:
    with open(sys.argv[1], "rb") as file:
        config = tomllib.load(file)
    client = config["client"]
    keys = {table["pub_key"]: signing_key(table) for table in config["keys"].values()}
    (connection,) = config["connections"].values()
    while True:
        try:
            state = noise(signing_key(client), connection["server_key"])
            if serve(connection["url"], state, client["pub_key"], keys):
                return
        except (OSError, WebSocketException, InvalidTag, NoiseInvalidMessage) as problem:
            # Nobody there, or somebody who is not the integration.
            print(repr(problem), flush=True)
        time.sleep(1)


main()
