# SPDX-License-Identifier: MPL-2.0
"""`larder products` and the product actor of a running shop: files as people make them, and who may change the menu."""

import json
import os
import pathlib
import signal
import subprocess

import pytest
from larder_client import Client, Refused, uuid7
from patience import stretched
from processes import DONE, FAILED, LARDER, REFUSED, ROOT, USAGE, free_base_port, wait_until

HEAD = "product,name,description,category,amount,currency,images,active\n"
SAMPLE = pathlib.Path(ROOT) / "samples" / "menu.csv"


@pytest.fixture
def menu(shop):
    client = shop.client("product")
    yield client
    client.close()


@pytest.fixture
def run(shop):
    def products(*arguments, given=None, base=None):
        env = {name: value for name, value in os.environ.items() if not name.startswith("LARDER")}
        env["LARDER_BASE_PORT"] = str(base or shop.base)
        done = subprocess.run([LARDER, "products", *map(str, arguments)], env=env, input=given, capture_output=True, timeout=stretched(120), check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return products


@pytest.fixture
def file(tmp_path):
    def write(text, name="menu.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def counts(out):
    """(rows, created, changed, unchanged, refused) of the last line."""
    words = out.splitlines()[-1].replace(",", "").replace(":", "").split()
    return tuple(int(words[words.index(word) - 1]) for word in ("rows", "created", "changed", "unchanged", "refused"))


def row(sku, name="Thing", category="other", amount=100, currency="BRL", **more):
    return {"product": sku, "name": name, "category": category, "amount": amount, "currency": currency, **more}


def has(menu, sku):
    try:
        return bool(menu.get("product.get", {"product": sku}))
    except Refused:
        return False


def put_body(sku, **more):
    return {"product": sku, "name": "Thing", "category": "other", "price": {"amount": 100, "currency": "BRL"}, **more}


# --- the sample, twice, and back ---


def test_the_sample_is_loaded_once_and_comes_out_as_it_went_in(run, menu, file):
    status, out, err = run("load", SAMPLE)
    assert (status, err) == (DONE, "")
    rows = counts(out)[0]
    assert rows == len(SAMPLE.read_text().splitlines()) - 1 == sum(counts(out)[1:])
    assert counts(run("load", SAMPLE)[1]) == (rows, 0, 0, rows, 0)
    bread = menu.get("product.get", {"product": "pao-de-queijo"})
    assert (bread["name"], bread["description"], bread["version"]) == ("Pão de queijo", "Six, warm", 1)
    assert len(menu.get("product.get", {"product": "double-bacon"})["images"]) == 2
    status, out, _ = run("list", "--csv")
    assert status == DONE
    assert counts(run("load", "-", "--format", "csv", given=out.encode())[1])[2:] == (0, len(out.splitlines()) - 1, 0)
    assert set(SAMPLE.read_text().splitlines()) - {'acai-bowl,Açaí bowl,"With banana and granola; summer only",dessert,1890,BRL,,false'} <= set(
        out.splitlines())


def test_list_shows_a_category_as_a_table_and_as_json(run):
    run("load", SAMPLE)
    status, out, _ = run("list", "--category", "side")
    lines = out.splitlines()
    assert status == DONE
    assert lines[0].split()[:4] == ["PRODUCT", "CATEGORY", "AMOUNT", "CURRENCY"]
    assert [line.split()[0] for line in lines[1:]] == ["fries", "onion-rings", "pao-de-queijo"]
    data = json.loads(run("list", "--category", "side", "--json")[1])["data"]
    assert [one["product"] for one in data] == ["fries", "onion-rings", "pao-de-queijo"]
    assert run("list", "--category", "soup")[0] == REFUSED
    assert run("list", "--category", "a/b")[0] == USAGE


# --- files as people make them ---


def test_a_mark_crlf_quotes_and_any_order_of_columns_are_read(run, menu, file, product):
    text = "\ufeff" + f'amount,currency,category,name,product\r\n5,BRL,side,"Say ""cheese"", twice",{product}\r\n\r\n'
    assert run("load", file(text))[0] == DONE
    card = menu.get("product.get", {"product": product})
    assert (card["name"], card["price"]["amount"], card["active"]) == ('Say "cheese", twice', 5, True)
    assert "description" not in card and "images" not in card


@pytest.mark.parametrize("text, words", [
    ("", "it is empty"),
    ("\ufeff", "it is empty"),
    ("\n\n", "it is empty"),
    ("product,name,category,amount,currency,colour\n", 'no column "colour"'),
    ("product,name,category,amount,currency,Active\n", 'no column "Active"'),
    ("product;name;category;amount;currency\n", 'no column "product;name;category;amount;currency"'),
    ("product,name,category,amount\n", 'column "currency" is missing'),
    ("product,name,category,amount,currency,name\n", 'column "name" is there twice'),
    ('product,"name\n', "a quote is not closed"),
    (bytes(range(256)) * 8, "no column"),
    (bytes(range(255, -1, -1)) * 8, "the first line names the columns: a quote"),
    (b"\x7fELF\x02\x01\x01\x00\x00", "no column"),
    ("product,name\n".encode("utf-16"), "no column"),
], ids=["empty", "mark", "blank", "unknown", "case", "semicolons", "missing", "twice", "quote", "binary", "backwards", "elf", "utf-16"])
def test_a_file_whose_first_line_is_wrong_is_refused_by_name_and_nothing_is_sent(run, file, text, words):
    status, out, err = run("load", file(text), base=free_base_port())  # nobody is there, and nobody is asked
    assert (status, out) == (USAGE, "")
    assert words in err
    assert not set(err) & set(map(chr, range(9)))


def test_what_is_asked_wrongly_is_said(run, file, tmp_path):
    path = file(HEAD)
    assert run("load")[0] == USAGE
    assert run("load", path, path)[0] == USAGE
    assert run("load", tmp_path / "none.csv")[0] == USAGE
    assert run("load", tmp_path, "--format", "csv")[0] == USAGE
    assert run("load", path, "--format", "xml")[0] == USAGE
    assert run("load", "-", given=b"")[0] == USAGE
    assert run("load", path, "--dryrun")[0] == USAGE
    assert run("lod", path)[0] == USAGE
    status, out, _ = run("load", path)
    assert (status, counts(out)) == (DONE, (0, 0, 0, 0, 0))


def test_a_row_that_is_refused_is_told_with_its_line_and_the_others_are_done(run, menu, file, product):
    lines = [
        f"{product}-1,One,,side,100,BRL,,",
        f"{product}-2,Two,,soup,100,BRL,,",  # line 3
        f"{product}-3,,,side,100,BRL,,",  # line 4
        f'{product}-4,"Two\nlines",,side,100,BRL,,',  # lines 5 and 6
        f"{product}-5,Five,,side,1.50,BRL,,",  # line 7
        f"{product}-6,Six,,side,-1,BRL,,",  # line 8
        f"{product}-7,Seven,,side,100,reais,,",  # line 9
        f"{product}-8,Eight,,side,100,BRL,ftp://x/1,",  # line 10
        f"{product}-9,Nine,,side,100,BRL,,perhaps",  # line 11
        f"{product}-10,Ten,,side",  # line 12
        f'{product}-11,Ele"ven,,side,100,BRL,,',  # line 13
        f"white space,Twelve,,side,100,BRL,,",  # line 14
        f"{product}-13,{'x' * 3000},,side,100,BRL,,",  # line 15
        f"{product}-14,Fourteen,,side,99999999999999999999,BRL,,",  # line 16
        f"{product}-15,Fifteen,,side,100,BRL,,FALSE",
        f"{product}-16,Sixteen,,side,100,BRL,,No",
    ]
    status, out, err = run("load", file(HEAD + "\n".join(lines) + "\n"))
    assert (status, err) == (REFUSED, "")
    told = {int(line.split()[1][:-1]): line for line in out.splitlines()[:-1]}
    assert sorted(told) == [3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
    assert told[3] == f"line 3: {product}-2: category: there is no soup"
    assert "name: " in told[4] and "one line" in told[5]
    assert f"{product}-5: amount: " in told[7] and "amount: " in told[8] and "amount: " in told[16]
    assert '"reais"' in told[9] and '"ftp://x/1"' in told[10] and "active: " in told[11]
    assert "it has 4 columns, the first line 8" in told[12] and "a quote stands in a field" in told[13]
    assert "product: " in told[14] and "name: " in told[15]
    assert counts(out) == (16, 3, 0, 0, 13)
    assert menu.get("product.get", {"product": f"{product}-16"})["active"] is False
    with pytest.raises(Refused) as refused:
        menu.ask("product.get", {"product": f"{product}-2"})
    assert refused.value.status == "unknown_product"


def test_bytes_that_are_no_text_are_refused_and_not_printed(run, file, product):
    text = HEAD.encode() + f"{product},".encode() + b"\xff\xfe\x00\x1b[2J,,side,100,BRL,,\n" + b"\x80\x81,Name,,side,100,BRL,,\n"
    status, out, _ = run("load", file(text))
    assert status == REFUSED
    assert counts(out) == (2, 0, 0, 0, 2)
    assert "\x1b" not in out and "\x00" not in out


def test_ndjson_is_taken_line_by_line(run, menu, file, product):
    good = json.dumps(row(product, "Ndjson", images="https://x/1  https://x/2"))
    lines = [good, "", "{", json.dumps({**row("x"), "colour": "red"}), json.dumps({"product": "y"}), "[1]", json.dumps(row("z", amount=1.5)),
             '"' + "x" * 70000 + '"']
    status, out, _ = run("load", file("\n".join(lines), "menu.ndjson"))
    assert status == REFUSED
    assert counts(out) == (7, 1, 0, 0, 6)
    assert [line.split(":")[0] for line in out.splitlines()[:-1]] == ["line 3", "line 4", "line 5", "line 6", "line 7", "line 8"]
    assert "colour" in out and "y: " in out
    assert [image["url"] for image in menu.get("product.get", {"product": product})["images"]] == ["https://x/1", "https://x/2"]
    assert counts(run("load", "-", "--format", "ndjson", given=good.encode())[1]) == (1, 0, 0, 1, 0)


def test_a_dry_run_writes_nothing(run, menu, file, product):
    path = file(HEAD + f"{product},One,,side,100,BRL,,\nbad,One,,soup,100,BRL,,\n")
    status, out, _ = run("load", path, "--dry-run")
    assert status == REFUSED
    assert counts(out) == (2, 1, 0, 0, 1) and "nothing was written" in out
    with pytest.raises(Refused):
        menu.ask("product.get", {"product": product})


def test_of_two_rows_about_one_product_the_later_wins_wherever_they_are(run, menu, file, product):
    lines = [f"{product}-{i % 700},Turn {i // 700},,side,100,BRL,," for i in range(2800)]
    for expected_status in (DONE, DONE):
        assert run("load", file(HEAD + "\n".join(lines)))[0] == expected_status
        for i in (0, 499, 500, 699):
            assert menu.get("product.get", {"product": f"{product}-{i}"})["name"] == "Turn 3"


def test_a_file_of_rows_that_do_not_fit_into_a_frame_together_is_cut_by_size(run, menu, file, product):
    words = "é" * 1000  # 2,000 bytes
    images = " ".join(f"https://images.example/{i:02d}/" + "x" * 480 for i in range(16))
    lines = [f"{product}-{i},Large,{words},side,100,BRL,{images}," for i in range(600)]
    status, out, err = run("load", file(HEAD + "\n".join(lines)))
    assert (status, err) == (DONE, "")
    assert counts(out) == (600, 600, 0, 0, 0)
    card = menu.get("product.get", {"product": f"{product}-599"})
    assert (card["description"], len(card["images"])) == (words, 16)
    listed = json.loads(run("list", "--json")[1])["data"]
    assert sum(one["product"].startswith(product) for one in listed) == 600


# --- load and its like over the wire ---


def test_more_than_1000_rows_and_no_rows_are_refused_as_a_whole(menu, product):
    for rows in ([row(f"{product}-{i}") for i in range(1001)], []):
        with pytest.raises(Refused) as refused:
            menu.ask("product.load", {"rows": rows})
        assert refused.value.status == "invalid_field"
        assert "product_load.rows" in refused.value.detail


def test_a_load_that_is_sent_again_changes_nothing(shop, menu, product):
    body = {"rows": [row(f"{product}-{i}") for i in range(3)]}
    request_id = uuid7()
    assert menu.get("product.load", body, request_id=request_id)["created"] == 3
    assert menu.get("product.load", body, request_id=request_id, again=True)["unchanged"] == 3
    menu.get("product.categorise", {"category": "other", "name": "Other", "position": 50})
    assert menu.get("product.get", {"product": f"{product}-0"})["version"] == 1
    assert "other" in [one["category"] for one in menu.get("product.categories")["categories"]]


def test_the_largest_rows_are_answered_within_a_frame(menu):
    rows = [row("x" * 500 + str(i).zfill(12), "n") for i in range(1000)]
    answer = menu.get("product.load", {"rows": rows})
    assert (answer["refused"], len(answer["results"])) == (1000, 1000)


@pytest.mark.parametrize("role, may", [("anonymous", False), ("customer", False), ("employee", True), ("admin", True), ("operator", True)])
def test_only_employees_change_the_menu_and_everybody_reads_it(menu, product, role, may):
    menu.ask("product.put", put_body(product))

    def ask(op, body):
        return menu.once(menu.header(op, uuid7(), role=role), body).status

    wanted = "ok" if may else "forbidden"
    assert ask("product.put", put_body(product, name="Other")) == wanted
    assert ask("product.patch", {"product": product, "active": False}) == wanted
    assert ask("product.load", {"rows": [row(f"{product}-2")]}) == wanted
    assert ask("product.categorise", {"category": "side", "name": "Sides", "position": 20}) == wanted
    assert ask("product.get", {"product": product}) == "ok"
    assert ask("product.list", {"limit": 1}) == "ok"
    assert ask("product.categories", {}) == "ok"
    assert menu.get("product.get", {"product": product})["version"] == (3 if may else 1)


# --- interrupted ---


def test_a_load_that_is_interrupted_is_finished_by_the_same_load(run, shop, menu, file, product):
    """The refused rows in the middle are more than a pipe holds that nobody reads: so it is the middle where it is killed."""
    good = [f"{product}-{i},Many,,side,{i},BRL,," for i in range(20000)]
    bad = [f"{product}-bad,Many,,side,none,BRL,,"] * 3000
    path = file(HEAD + "\n".join(good[:10000] + bad + good[10000:]))
    env = {**os.environ, "LARDER_BASE_PORT": str(shop.base)}
    with subprocess.Popen([LARDER, "products", "load", str(path)], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as cut:
        wait_until(lambda: has(menu, f"{product}-9000"), 20, "the first rows")
        cut.send_signal(signal.SIGKILL)
    status, out, _ = run("load", path)
    rows, created, changed, unchanged, refused = counts(out)
    assert (status, rows, changed, refused) == (REFUSED, 23000, 0, 3000)
    assert unchanged >= 9001 and created >= 10000 and created + unchanged == 20000
    assert counts(run("load", path)[1]) == (23000, 0, 0, 20000, 3000)
    assert menu.get("product.get", {"product": f"{product}-19999"})["version"] == 1


def test_an_actor_that_is_away_is_told_and_nothing_is_claimed(run, file):
    status, out, err = run("load", file(HEAD + "a,A,,side,1,BRL,,\n"), "--timeout-ms", "300", base=free_base_port())
    assert status == FAILED
    assert counts(out) == (0, 0, 0, 0, 0)
    assert "lines 2 to 2: " in err and "Not all rows are loaded" in err


def test_an_actor_that_is_killed_under_a_load_is_waited_for(new_shop, database, file, product):
    shop = new_shop(database)
    actor = shop.actor("product")
    path = file(HEAD + "\n".join(f"{product}-{i},Many,,side,{i},BRL,," for i in range(60000)))
    load = subprocess.Popen([LARDER, "products", "load", str(path)], env=shop.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    menu = Client(shop.endpoint("product"))
    wait_until(lambda: has(menu, f"{product}-3000"), 20, "a tenth of the rows")
    actor.kill9()
    actor = shop.actor("product")
    out, err = load.communicate(timeout=stretched(60))
    rows, created, changed, unchanged, refused = counts(out)
    assert (load.returncode, rows, changed, refused) == (DONE, 60000, 0, 0), err
    assert shop.sql("SELECT COUNT(*), SUM(version) FROM $product", "product") == [(60000, 60000)]
    assert shop.sql("SELECT seq FROM $shard", "product") == [(60000,)]
    menu.close()
    actor.stop()


def test_every_change_is_one_event_and_the_proof_holds(run, shop, menu, product):
    follower = shop.subscriber("product", f"tester/{os.getpid() % 1000}", from_start=False)
    try:
        menu.ask("product.put", put_body(product))
        menu.ask("product.put", put_body(product))
        menu.ask("product.patch", {"product": product, "price": {"amount": 7, "currency": "BRL"}})
        menu.ask("product.load", {"rows": [row(product, amount=8), row(product, amount=9), row(f"{product}-2")]})
        seen = [follower.next() for _ in range(4)]
        assert [(event.type, event.key, event.body["version"], event.body["price"]["amount"]) for event in seen] == [
            ("product.changed", product, 1, 100), ("product.changed", product, 2, 7),
            ("product.changed", product, 3, 9), ("product.changed", f"{product}-2", 1, 100)]
        assert follower.next(300) is None
    finally:
        follower.unsubscribe()
        follower.close()
