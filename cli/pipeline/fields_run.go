package pipeline

import (
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

func (d *document) readShell(t *taskDraft, v value) {
	if v.Kind == yaml.SequenceNode {
		var argv []string
		if listOf(textOf(4<<10, false), 50).read(d, v, &argv) {
			if len(argv) == 0 || argv[0] == "" {
				d.failf(d.at(v.Node), "SYN1409", "shell is empty")
				return
			}
			t.Shell = argv
		}
		return
	}
	text, ok := d.scalar(v, "sh, bash or a list")
	if !ok || !d.fixed(v, text) {
		return
	}
	argv, ok := shells[text]
	if !ok {
		hint := didYouMean(text, []string{"bash"})
		if hint == "" {
			hint = "shell: [" + strings.Join(append(strings.Fields(clip(text, 40)), "-c"), ", ") + "]"
		}
		d.fail(d.at(v.Node), "SYN1009", "shell is sh, bash or a list, found "+show(text), hint)
		return
	}
	t.Shell = argv
}

func (d *document) readRun(t *taskDraft, v value) {
	text, ok := d.scalar(v, "a string")
	switch {
	case !ok:
	case strings.TrimSpace(text) == "":
		d.failf(d.at(v.Node), "SYN1009", "run is empty")
	case len(text) > maxRun:
		d.failf(d.at(v.Node), "SYN1009", "run has %s bytes, %s at most", grouped(len(text)), grouped(maxRun))
	default:
		if i := strings.Index(text, "${{"); i >= 0 {
			at := d.within(v.Node, utf8.RuneCountInString(text[:i]), 3)
			d.fail(at, "SYN1408", "run may not hold ${{ }}: its value could be read as script", scriptHint(text[i:]))
		}
	}
	t.Run = text
}

// scriptHint says how to get a value into a script.
func scriptHint(text string) string {
	inside, _, _ := strings.Cut(strings.TrimPrefix(text, "${{"), "}}")
	inside = clip(strings.TrimSpace(inside), 80)
	if name, ok := strings.CutPrefix(inside, "params."); ok && memberRE.MatchString(name) {
		upper := strings.ToUpper(name)
		return `write "$SYN_PARAM_` + upper + `", or env: {` + upper + `: "${{ ` + inside + ` }}"} and "$` + upper + `"`
	}
	return `env: {VALUE: "${{ ` + inside + ` }}"} and "$VALUE"`
}

func (d *document) readCommand(t *taskDraft, v value) {
	if v.Kind == yaml.ScalarNode && !isNull(v.Node) {
		hint := "[" + clip(strings.Join(strings.Fields(v.Value), ", "), 80) + "]"
		d.fail(d.at(v.Node), "SYN1409", "command is a list: "+hint, "or run: for a line of shell")
		return
	}
	if v.Kind == yaml.SequenceNode && len(v.Content) == 0 {
		d.failf(d.at(v.Node), "SYN1409", "command is empty")
		return
	}
	if listOf(exprText(inTask, "command", maxArgument), maxArguments).read(d, v, &t.Command) && t.Command[0] == "" {
		d.failf(d.at(v.Content[0]), "SYN1409", "command[0] is empty")
	}
}

func (d *document) readSecrets(t *taskDraft, v value) {
	if !d.isMap(v) {
		return
	}
	secrets := map[string]string{}
	for key, e := range d.pairs(v) {
		e.name = "secrets." + key.Value
		text, ok := d.scalar(e, "the name of a secret")
		if !d.variable(key) || !ok || !d.fixed(e, text) {
			continue
		}
		if !variableRE.MatchString(text) {
			// What stands here may be the secret itself: it is not repeated.
			s := d.at(e.Node)
			d.fail(spot{s.line, s.col, 1}, "SYN1101", e.name+" is the name of a secret, which "+variableRule, "synctl secret set NAME")
			continue
		}
		secrets[key.Value] = text
		at := d.at(e.Node)
		d.reads = append(d.reads, Read{Kind: ReadSecret, Name: text, Task: t.Name, Line: at.line, Col: at.col})
	}
	if len(secrets) > MaxVariables {
		d.failf(d.keySpot(v), "SYN1009", "%d secrets, %d at most", len(secrets), MaxVariables)
	}
	t.Secrets = secrets
}

func (d *document) bothEnvAndSecret(t *taskDraft) {
	env, ok := t.own["env"]
	if !ok || len(t.Secrets) == 0 {
		return
	}
	for key := range d.quietPairs(env) {
		if _, ok := t.Secrets[key.Value]; ok {
			d.failf(d.at(key), "SYN1104", "%s is in env and in secrets", key.Value)
		}
	}
}
