# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   What is personal is nowhere in the clear, and who is erased is nowhere at all: somebody registers, signs in, orders, changes,
          fails at all of it, is erased, and meanwhile the process is killed. Then every byte string of that person is looked for in
          every file, every row of every table of every actor, every letter and every line of every log.

          On MySQL the server is the test's own, so that its files can be looked through as well.

LIMITS    The note of an order is the order's, and kept in the clear as long as the person is not erased. After that it is in no row, in
          no log and in no file of SQLite; in files of MariaDB old bytes of a note may stay until they are written over.
"""

import base64
import glob
import json
import os
import sqlite3
import threading
import uuid

import pytest
from larder_client import pack, uuid7
from mysql_server import mysql_server
from patience import stretched
from processes import Mysql, Sqlite, request, wait_until

NAME, EMAIL, PHONE = "Aureliana Quaresma", "Aureliana.Quaresma@correio.example", "+55 (21) 97777-1234"
ADDRESS, PASSWORD, CPF = "Travessa do Ouvidor 4711, fundos", "Mandioquinha-Salsa 88", "529.982.247-25"
CHANGED, NEW_PASSWORD = "Aureliana Quaresma de Tupinamba", "Jabuticabeira 99 azul"
NOTE = "sem cebola, para a Dona Aureliana do fundo"
PERSONAL = [NAME, EMAIL, EMAIL.lower(), PHONE, ADDRESS, PASSWORD, CPF, "52998224725", NEW_PASSWORD, "Quaresma", "quaresma",
            "Tupinamba", "97777-1234", "Ouvidor 4711"]


def spellings(texts):
    """As bytes, and as they are in JSON, UTF-16 and base 64 wherever it may begin."""
    for text in texts:
        plain = text.encode()
        yield text, plain
        yield text, text.encode("utf-16-le")
        yield text, plain.hex().encode()
        for shift in range(3):
            encoded = base64.b64encode(bytes(shift) + plain).rstrip(b"=")
            yield text, encoded[4 if shift else 0:-4]


def found_in_files(texts, *folders):
    needles = list(spellings(texts))
    found = []
    for folder in folders:
        for path in glob.glob(os.path.join(folder, "**"), recursive=True):
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    content = file.read()
                found += [f"{path}: {text}" for text, needle in needles if needle in content]
    return found


def rows_of(database):
    """Every row of every table, as bytes: (table, row)."""
    if isinstance(database, Sqlite):
        for path in glob.glob(os.path.join(database.folder, "*.db")):
            connection = sqlite3.connect(path, timeout=stretched(10))
            connection.text_factory = bytes
            for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                for row in connection.execute(f"SELECT * FROM \"{table.decode()}\""):
                    yield f"{os.path.basename(path)} {table.decode()}", b"|".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
            connection.close()
        return
    for (table,) in database.run("SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"):
        columns = [name for (name,) in database.run(f"SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = '{table}'")]
        hexed = ", '7c', ".join(f"COALESCE(HEX(CAST(`{name}` AS BINARY)), '')" for name in columns)
        for (row,) in database.run(f"SELECT CONCAT('x', {hexed}) FROM `{table}`"):
            yield table, bytes.fromhex(row[1:])


def found_in_rows(texts, database):
    needles = list(spellings(texts))
    return [f"{table}: {text}" for table, row in rows_of(database) for text, needle in needles if needle in row]


class Person:
    """Somebody at the shop's door, over HTTP."""

    def __init__(self, shop, admin):
        self.shop, self.admin, self.token, self.id = shop, admin, None, None

    def ask(self, method, path, body=None, token=None, expected=None, **headers):
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if token or self.token:
            given["Authorization"] = f"Bearer {token or self.token}"
        status, _, answer = request(self.shop.http, method, path, None if body is None else json.dumps(body), given)
        assert expected is None or status == expected, f"{method} {path}: {status} {answer}"
        return status, json.loads(answer) if answer else {}

    def register(self, key):
        """Under one key until it is answered."""
        body = {"name": NAME, "email": EMAIL, "phone": PHONE, "address": ADDRESS, "cpf": CPF, "password": PASSWORD}
        def answered():
            status, answer = self.ask("POST", "/v1/users", body, Idempotency_Key=key)
            return status not in (0, 503, 504) and (status, answer)
        status, answer = wait_until(answered, 30, "a registration that is answered")
        assert status == 201, answer
        assert set(answer) == {"user", "version"}
        self.id = answer["user"]

    def sign_in(self, password=PASSWORD, expected=201):
        _, answer = self.ask("POST", "/v1/sessions", {"email": EMAIL.lower(), "password": password}, expected=expected)
        self.token = answer.get("token")

    def fail_at_everything(self):
        self.ask("POST", "/v1/users", {"name": NAME, "email": EMAIL}, expected=409)
        self.ask("POST", "/v1/users", {"name": NAME, "cpf": CPF, "password": PASSWORD}, expected=409, Idempotency_Key=uuid.uuid4().hex)
        self.ask("POST", "/v1/users", {"name": NAME, "cpf": "529.982.247-26"}, expected=400)
        self.ask("POST", "/v1/users", {"name": NAME, "email": EMAIL.replace("@", " at ")}, expected=400)
        self.ask("POST", "/v1/users", {"name": NAME, EMAIL: CPF}, expected=400)
        self.ask("POST", "/v1/sessions", {"cpf": CPF, "password": NEW_PASSWORD}, expected=401)
        self.ask("PATCH", f"/v1/users/{self.id}", {"address": ADDRESS}, expected=412, If_Match='"77"')
        self.ask("PATCH", f"/v1/users/{self.id}", {"role": "admin", "phone": PHONE}, expected=403)
        self.ask("POST", "/v1/users:find", {"email": EMAIL}, expected=403)
        later, _ = self.ask("POST", "/v1/users", {"name": NAME, "email": EMAIL}, Prefer="respond-async")
        assert later != 202

    def change(self):
        self.ask("PATCH", f"/v1/users/{self.id}", {"name": CHANGED}, expected=200)
        self.ask("PATCH", f"/v1/users/{self.id}", {"password": NEW_PASSWORD}, expected=200)
        self.ask("POST", "/v1/users:find", {"cpf": CPF}, token=self.admin, expected=200)
        _, seen = self.ask("GET", f"/v1/users/{self.id}", expected=200)
        assert (seen["name"], seen["email"], seen["cpf"]) == (CHANGED, EMAIL, "52998224725")

    def order(self):
        _, placed = self.ask("POST", "/v1/orders", {"lines": [{"product": "pie", "quantity": 1}], "method": "pix", "note": NOTE}, expected=201)
        assert placed["customer"] == self.id
        return placed["id"]


@pytest.fixture(name="place", params=["sqlite", "mysql"])
def place_fixture(request, folder):
    """A database, and the folders of its files."""
    if request.param == "sqlite":
        database = Sqlite(folder)
        yield database, [database.folder]
        return
    with mysql_server(folder) as server:
        yield Mysql(f"mysql://root@127.0.0.1:{server.port}/larder"), [server.data]


def start(make_shop, database):
    """A shop with a pie, whose log says everything."""
    shop = make_shop(database, log_level="debug")
    process = shop.run()
    status, words = shop.command("token", "--role", "admin")
    assert status == 0, words
    somebody = Person(shop, words.strip())
    pie = {"name": "Pie", "category": "dessert", "price": {"amount": 900, "currency": "BRL"}}
    somebody.ask("PUT", "/v1/products/pie", pie, token=somebody.admin, expected=200)
    somebody.ask("POST", "/v1/stock/pie:adjust", {"delta": 100}, token=somebody.admin, expected=200)
    return shop, process, somebody


def killed_in_the_middle(shop, process, somebody):
    """Registrations and changes are under way when the process dies; they are asked again, and done once."""
    key = uuid.uuid4().hex
    for pause_s in (0.0, 0.03, 0.08):
        asking = threading.Thread(target=somebody.register, args=(key,))
        asking.start()
        threading.Event().wait(pause_s)
        process.kill9()
        process.start().wait_ready(shop.http)
        asking.join(stretched(40))
        assert not asking.is_alive()
    _, people = somebody.ask("GET", "/v1/users", token=somebody.admin, expected=200)
    assert [person["user"] for person in people["data"]] == [somebody.id]


def look(shop, database, folders, texts):
    logs = [process.log_path for process in shop.processes]
    found = found_in_files(texts, *folders) + found_in_rows(texts, database)
    for path in logs:
        with open(path, "rb") as file:
            content = file.read()
        found += [f"{path}: {text}" for text, needle in spellings(texts) if needle in content]
    return found


def test_the_search_finds_what_is_there(make_shop, place):
    """Who looks in the wrong place finds nothing as well."""
    database, folders = place
    shop, _, somebody = start(make_shop, database)
    somebody.ask("POST", "/v1/orders", {"lines": [{"product": "pie", "quantity": 1}], "method": "pix", "note": NOTE}, expected=201)
    assert found_in_rows([NOTE], database)
    wait_until(lambda: found_in_files([NOTE], *folders), 20, "the note in a file")
    assert not look(shop, database, folders, PERSONAL)


def test_nothing_of_an_erased_person_is_anywhere(make_shop, place, ask):
    database, folders = place
    shop, process, somebody = start(make_shop, database)
    killed_in_the_middle(shop, process, somebody)
    somebody.sign_in()
    order = somebody.order()
    somebody.fail_at_everything()
    somebody.change()
    somebody.sign_in(PASSWORD, expected=401)
    somebody.sign_in(NEW_PASSWORD)
    assert not look(shop, database, folders, PERSONAL)

    client = ask(shop)
    kept = client.ask("dlq.hand_over", {"request": uuid7(), "op": "user.register", "body": pack({"name": NAME, "email": EMAIL})})
    assert kept.status == "invalid_field", kept
    assert client.ask("user.register", {EMAIL: CPF, NAME: PHONE}).status == "invalid_field"
    assert client.ask("user.sign_in", {"email": EMAIL, "password": PASSWORD, PASSWORD: NAME}).status == "invalid_field"
    _, proof = somebody.ask("DELETE", f"/v1/users/{somebody.id}", {}, expected=200)
    assert {field["field"] for field in proof["fields"]} == {"name", "email", "phone", "address", "cpf", "password", "key"}
    wait_until(lambda: "note" not in client.ok("order.get", {"order": uuid.UUID(order).bytes}), 20, "the order forgets its customer")
    seen = client.ok("order.get", {"order": uuid.UUID(order).bytes})
    assert "customer" not in seen
    assert found_in_rows([NOTE], database) == []
    if isinstance(database, Sqlite):
        wait_until(lambda: not found_in_files([NOTE], *folders), 20, "the note is overwritten in the files")
    assert not look(shop, database, folders, PERSONAL)
    assert NOTE not in process.log()

    _, told = somebody.ask("GET", f"/v1/users/{somebody.id}/erasure", expected=200)
    assert told == proof
    somebody.ask("POST", "/v1/sessions", {"email": EMAIL, "password": NEW_PASSWORD}, token=somebody.admin, expected=401)
    assert process.stop() < 5
    assert not look(shop, database, folders, PERSONAL)
    shop.verify()
