"""A record that kills the process, or makes it go round for ever: found in a bounded number of deaths, refused whole, and everybody
else's points are right."""

import os
import re
import shutil

import pytest

import stack as stack_module
from fresh import fresh_stack
from stack import BIN, wait_for

SALES, AT_VALIDATE, AT_ACCRUE = 400, 150, 300
DEATHS = 8  # of each: one in a whole batch, three by eighths of at most 512, two alone; and a little for other batches before


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """The programs, with two of them replaced by those that die of a word, or hang (tests/e2e/killer.c)."""
    folder = tmp_path_factory.mktemp("bin")
    for program in BIN.glob("lens*"):
        if program.is_file():
            os.symlink(program, folder / program.name)
    for name in ("lens", "lens-validate", "lens-accrue"):
        (folder / name).unlink()
        shutil.copy2(BIN / (name if name == "lens" else f"{name}-killed"), folder / name)
    kept, stack_module.BIN = stack_module.BIN, folder
    yield folder
    stack_module.BIN = kept


def write_sales(path, what):
    rows = ["InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"]
    for i in range(SALES):
        product = {AT_VALIDATE: f"{what}-validate", AT_ACCRUE: f"{what}-accrue"}.get(i, "85123A")
        rows.append(f"{100000 + i},{product},MUG,1,2011-01-04 10:00:00,10.00,{12000 + i % 97}.0,United Kingdom")
    path.write_text("\r\n".join(rows) + "\r\n")


def deaths(stack, name, word):
    log = stack.log(name)
    return len(re.findall(word, log)), len(re.findall(r"event=record_condemned", log))


@pytest.mark.parametrize("what, word", [("kills", "event=killed"), ("hangs", "event=hangs")])
def test_each_is_refused_after_a_bounded_number_of_deaths(planted, tmp_path, what, word):
    write_sales(tmp_path / "sales.csv", what)
    with fresh_stack("accrue: { flush_ms = 200; hang_ms = 500; };\nvalidate: { hang_ms = 500; };\n") as stack:
        stack.lens("import", "online_retail", tmp_path / "sales.csv")
        letters = wait_for("both are dead letters", lambda: (
            lambda found: found if len(found) == 2 else None)(
                stack.lens("dlq", "list", "--code", "RECORD_CRASHED", check=False)["letters"]), timeout_s=240, pause_s=1)
        assert {letter["stage"] for letter in letters} == {"validate", "accrue"}
        for letter in letters:
            shown = stack.lens("dlq", "show", letter["ref"])
            value = bytes.fromhex(shown["value_hex"])
            assert f"{what}-{letter['stage']}".encode() in value and value[0] == 0, "the whole record, untouched"
            assert shown["event"] is None, "what kills a process is not decoded to be shown"
            assert [code["code"] for code in shown["codes"]] == ["RECORD_CRASHED"]
        stack.lens("wait", "--timeout", "120")
        found = {name: deaths(stack, name, word) for name in ("validate", "accrue")}
        print(f"deaths and verdicts: {found}")
        for name, (killed, condemned) in found.items():
            assert condemned == 1 and 2 <= killed <= DEATHS, f"{name}: {killed} deaths, {condemned} condemned"
        points = stack.query("select count(*), sum(points) from loyalty.postings")
        assert points == [(SALES - 2, SALES - 2)], "10.00 is one point, everybody else's"
        assert stack.lens("verify")["ok"] is True
        assert stack.query("select read_count from loyalty.partitions order by 1 desc")
        stack.ready()
