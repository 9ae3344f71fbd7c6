from cli_runner import run
from made_up_run import write_run
from neuralcollapse.runs import append_record


def test_report_writes_one_page_about_all_runs(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    runs = [write_run(tmp_path / name, epochs=3, snapshots=2) for name in ("first", "second")]
    page = tmp_path / "page.html"
    result = run("report", *runs, "--out", page)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(page)
    text = page.read_text()
    assert "first" in text
    assert "second" in text
    assert opened == []
    assert run("report", runs[0], "--out", page, "--open").exit_code == 0
    assert opened == [page.as_uri()]
    assert "<title>first – neural collapse" in page.read_text()


def test_files_beside_runs_are_left_out(tmp_path):
    folder, table = write_run(tmp_path / "run", epochs=2, snapshots=0), tmp_path / "sweep.csv"
    table.write_text("name,seed\n")
    result = run("report", folder, table, "--out", tmp_path / "page.html")
    assert result.exit_code == 0, result.output
    assert "no folder sweep.csv" in run("report", table).stderr.replace(f"{tmp_path}/", "")


def test_report_refuses_a_folder_without_history_in_one_line(tmp_path):
    result = run("report", tmp_path, "--out", tmp_path / "page.html")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: RUNS: expected a history.jsonl, got no file")
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "page.html").exists()


def test_a_page_of_another_ending_is_refused_by_the_name_of_its_option(tmp_path):
    folder = write_run(tmp_path / "run", epochs=2, snapshots=0)
    result = run("report", folder, "--out", tmp_path / "page.md")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --out: expected one of .html, .htm, got '.md'")


def test_a_live_page_follows_the_run_until_it_is_interrupted(tmp_path, monkeypatch):
    folder, page, seen = write_run(tmp_path / "run", epochs=2, snapshots=0), tmp_path / "p.html", []

    def sleep(_):
        seen.append(page.read_text())
        if len(seen) == 3:
            raise KeyboardInterrupt
        if len(seen) == 1:  # somebody else trains on
            append_record(folder / "history.jsonl", {"epoch": 3, "cdnv": 0.5})

    monkeypatch.setattr("time.sleep", sleep)
    assert run("report", folder, "--out", page, "--live").exit_code == 0
    assert ["to epoch 3" in text for text in seen] == [False, True, True]
    assert all('"reload":5' in text for text in seen)
    assert '"reload":null' in page.read_text()
