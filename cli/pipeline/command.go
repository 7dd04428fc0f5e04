package pipeline

import (
	"path"
	"regexp"
	"strings"
)

// interpreters are programs that run a text given as an argument, with the
// options that such a text follows.
var interpreters = []struct {
	names  []string
	option *regexp.Regexp
}{
	{[]string{"sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "busybox"}, regexp.MustCompile(`^(-[a-zA-Z]*c[a-zA-Z]*|--command)$`)},
	{[]string{"pwsh", "powershell"}, regexp.MustCompile(`(?i)^-(c|command)$`)},
	{[]string{"python", "python2", "python3"}, regexp.MustCompile(`^-[a-zA-Z]*c$`)},
	{[]string{"perl", "ruby", "node", "nodejs"}, regexp.MustCompile(`^(-[a-zA-Z]*[eEp]|--eval|--print)$`)},
}

var pythonVersion = regexp.MustCompile(`^python[23](\.[0-9]+)?$`)

// scriptInCommand refuses expressions in text that an interpreter would run.
func (d *document) scriptInCommand(t *taskDraft) {
	v, ok := t.own["command"]
	if !ok {
		return
	}
	for i, arg := range v.Content {
		name := path.Base(arg.Value)
		if pythonVersion.MatchString(name) {
			name = "python3"
		}
		for _, in := range interpreters {
			for _, known := range in.names {
				if name != known {
					continue
				}
				for j := i + 1; j+1 < len(v.Content); j++ {
					option, text := v.Content[j].Value, v.Content[j+1]
					if !in.option.MatchString(option) {
						continue
					}
					if at := strings.Index(text.Value, "${{"); at >= 0 {
						offset := len([]rune(text.Value[:at]))
						d.fail(d.within(text, offset, 3), "SYN1408",
							`expression in the script of "`+clip(arg.Value, 40)+" "+option+`": its value could be read as script`, scriptHint(text.Value[at:]))
					}
					break
				}
			}
		}
	}
}
