package hostile

import (
	"fmt"
	"strings"
)

func graphCases() []Case {
	chain := head + "tasks:\n  t0: {run: x, needs: t399}\n"
	for i := 1; i < 400; i++ {
		chain += fmt.Sprintf("  t%d: {run: x, needs: t%d}\n", i, i-1)
	}
	return []Case{
		refused(24, "itself", head+"tasks:\n  t: {run: x, needs: [t]}\n", "SYN1404", 3, 23, "itself"),
		refused(24, "three", head+"tasks:\n  a: {run: x, needs: [c]}\n  b: {run: x, needs: [a]}\n  c: {run: x, needs: [b]}\n", "SYN1405", 3, 23, "a → b → c → a"),
		refused(24, "behind-400", chain, "SYN1405", 3, 23, "cycle"),
		refused(25, "unknown", head+"tasks:\n  load: {run: x}\n  t: {run: x, needs: [laod]}\n", "SYN1404", 4, 23, "load"),
		refused(25, "another-pipeline", head+"tasks:\n  t: {run: x, needs: [other/load]}\n", "SYN1404", 3, 23, "exist"),
		refused(25, "empty", head+"tasks:\n  t: {run: x, needs: [\"\"]}\n", "SYN1404", 3, 24, "empty"),
		refused(25, "twice", head+"tasks:\n  a: {run: x}\n  t: {run: x, needs: [a, a]}\n", "SYN1404", 4, 26, "twice"),
		refused(26, "none", head+"tasks: {}\n", "SYN1406", 2, 1, "at least one"),
		refused(26, "missing", head, "SYN1008", 1, 1, "tasks"),
	}
}

func scalarCases() []Case {
	var cases []Case
	for name, text := range map[string]string{
		"sign": "-5m", "zero": "0", "large": "9999999h", "exponent": "1e9", "no-unit": "5", "space": "5 m", "iso": "P1D",
	} {
		cases = append(cases, refused(27, name, head+"tasks: {t: {run: x, timeout: "+text+"}}\n", "SYN1009", 2, 30, "timeout"))
	}
	for name, text := range map[string]string{
		"negative": "-1", "exponent": "1e3", "32-bit": "2147483648", "64-bit": "9223372036854775808", "fraction": "1.5", "text": `"3"`, "nan": "NaN", "inf": ".inf",
	} {
		col := 28
		if text[0] == '"' {
			col++
		}
		cases = append(cases, Case{Number: 28, Name: name, Files: one(head + "tasks: {t: {run: x, retry: " + text + "}}\n"), Line: 2, Col: col, Word: "retry"})
	}
	return append(cases,
		refused(29, "a-year", head+"tasks: {t: {run: x, retry: {limit: 20, delay: 7d, max_delay: 7d}}}\n", "SYN1410", 2, 21, "140d"),
		refused(29, "factor", head+"tasks: {t: {run: x, retry: {limit: 20, backoff: 10, max_delay: 7d}}}\n", "SYN1410", 2, 21, "7d at most"),
	)
}

func taskCases() []Case {
	task := func(number int, name, rest, code string, col int, word string) Case {
		return refused(number, name, head+"tasks: {t: {"+rest+"}}\n", code, 2, col, word)
	}
	secret := func(name, text, not string) Case {
		c := Case{Number: 32, Name: name, Files: one(head + text + tasks), Not: not, OK: true, Code: "SYN1105", Word: "credential"}
		return c
	}
	return []Case{
		task(30, "one-string", "command: ./load --fast", "SYN1409", 22, "list"),
		task(30, "empty-list", "command: []", "SYN1409", 22, "empty"),
		task(30, "empty-item", `command: ["", x]`, "SYN1409", 24, "command[0]"),
		task(30, "nul", `command: [a, "x\0y"]`, "SYN1002", 27, "U+0000"),
		task(30, "large-item", "command: [a, "+strings.Repeat("x", 70_000)+"]", "SYN1003", 26, "65 536"),
		task(31, "loader", "run: x, env: {LD_PRELOAD: x}", "SYN1104", 27, "LD_PRELOAD"),
		task(31, "equals", "run: x, env: {A=B: x}", "SYN1104", 27, "letters"),
		task(31, "digit", "run: x, env: {1A: x}", "SYN1104", 27, "letters"),
		task(31, "empty", `run: x, env: {"": x}`, "SYN1104", 28, "letters"),
		task(31, "ours", "run: x, env: {SYN_X: x}", "SYN1104", 27, "Synthesizer"),
		task(31, "large", "run: x, env: {A: "+strings.Repeat("x", 40_000)+"}", "SYN1009", 30, "32 768"),
		task(31, "many", "run: x, env: {"+lines(5_000, "A%d: x, ")+"}", "SYN1009", 21, "500 at most"),
		secret("password", "env: {password: hunter2}\n", "hunter2"),
		secret("cloud-key", "env: {KEY: AKIAIOSFODNN7EXAMPLE}\n", "AKIAIOSFODNN7EXAMPLE"),
		secret("private-key", "env:\n  KEY: |\n    -----BEGIN RSA PRIVATE KEY-----\n    MIIEowIBAAKCAQ\n", "PRIVATE KEY"),
		task(33, "of-another-namespace", "run: x, secrets: {A: other/B}", "SYN1101", 34, "name of a secret"),
		task(34, "request", `http: {target: x, url: "file:///etc/passwd"}`, "SYN1601", 13, "http"),
		task(34, "wait-for-a-file", `wait: {http: {target: x, url: "file:///etc/passwd"}, until: "true"}`, "SYN1414", 44, "https"),
		task(34, "wait-with-credentials", `wait: {http: {target: x, url: "https://me:hunter2@x/"}, until: "true"}`, "SYN1414", 44, "user"),
		task(34, "header-of-two-lines", `wait: {http: {target: x, url: "https://x", headers: {A: "b\r\nC: d"}}, until: "true"}`, "SYN1009", 70, "end of a line"),
		task(34, "wait-for-ever", "wait: {for: 99999999999w}", "SYN1009", 25, "for"),
		task(34, "wait-at-no-time", "wait: {at: 25:99}", "SYN1009", 24, "time of day"),
		task(37, "prompt", "approval: {prompt: "+strings.Repeat("x", 20_000)+"}", "SYN1009", 32, "10 240"),
		task(37, "secret-in-a-prompt", `approval: {prompt: "${{ secrets.A }}"}`, "SYN1503", 37, "secrets"),
		task(23, "calls-itself", "pipeline: {name: a}", "SYN1212", 30, "itself"),
		task(23, "many-params", "pipeline: {name: b, params: {"+lines(101, "p%d: 1, ")+"}}", "SYN1009", 33, "100 at most"),
		refused(23, "51-triggers", head+"triggers: {pipelines: ["+lines(51, "{name: p%d}, ")+"]}\n"+tasks, "SYN1009", 2, 0, "50 at most"),
		task(35, "container", "run: x, container: {target: x, image: --privileged}", "SYN1601", 21, "container"),
		task(36, "remote", "remote: {target: nobody}", "SYN1601", 13, "remote"),
	}
}

func textCases() []Case {
	expressions := func(n int) string { return strings.Repeat("${{ run.id }}", n) }
	task := func(name, rest, code string, col int, word string) Case {
		return refused(37, name, head+"tasks: {t: {"+rest+"}}\n", code, 2, col, word)
	}
	return []Case{
		task("in-run", `run: "echo ${{ run.id }}"`, "SYN1408", 24, "env:"),
		task("unknown", `command: [x, "${{ unknown.x }}"]`, "SYN1502", 31, "unknown"),
		task("unclosed", `command: [x, "${{ run.id"]`, "SYN1507", 27, "}}"),
		task("nested", `command: [x, "${{ ${{ run.id }} }}"]`, "SYN1501", 31, "${{"),
		task("100-kb", `command: [x, "${{ run.id == '`+strings.Repeat("x", 60_000)+`' }}"]`, "SYN1506", 0, "4 KiB"),
		task("many-steps", `command: [x, "${{ `+strings.Repeat("-", 3_000)+`1 }}"]`, "", 0, ""),
		task("brackets", `command: [x, "${{ `+strings.Repeat("(", 3_000)+`1 }}"]`, "", 0, ""),
		fine(37, "10000", head+"tasks: {t: {command: [x, \""+expressions(2_000)+"\"]}}\n"),
		fine(37, "other-templates", head+"owner: \"{{ .Env.X }}\"\ntasks: {t: {run: \"echo {% import os %} $(date)\", env: {A: \"{{ .Env.X }} $(id)\"}}}\n"),
		fine(38, "markup", head+"description: \"<img src=x onerror=alert(1)></script> [x](javascript:alert(1))\"\n"+tasks),
		refused(38, "escape", head+"description: \"\\e[31m\\e]8;;x\\e\\\\\"\n"+tasks, "SYN1002", 2, 15, "U+001B"),
		refused(38, "large", head+"description: "+strings.Repeat("x", 20_000)+"\n"+tasks, "SYN1009", 2, 14, "10 240"),
	}
}
