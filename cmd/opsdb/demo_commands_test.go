package main

import (
	"encoding/json"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// printedCommands are the exports and the numbered commands on the demo's
// screen, as someone would copy them.
func printedCommands(screen string) (exports string, commands []string) {
	numbered := regexp.MustCompile(`^ {2,3}\d{1,2}  (.*)$`)
	goesOn := false
	for line := range strings.Lines(screen) {
		line = strings.TrimRight(line, "\n")
		switch m := numbered.FindStringSubmatch(line); {
		case strings.HasPrefix(line, "  export "):
			exports += line + "\n"
		case goesOn:
			commands[len(commands)-1] += "\n" + line
		case m != nil:
			commands = append(commands, m[1])
		default:
			continue
		}
		goesOn = strings.HasSuffix(line, "\\")
	}
	return exports, commands
}

func TestPrintedCommandsAreReadWithTheirContinuations(t *testing.T) {
	exports, commands := printedCommands("text\n  export A=1\n\n   1  one\n      words:\n  10  two \\\n        more\n")
	if exports != "  export A=1\n" || len(commands) != 2 || commands[0] != "one" || commands[1] != "two \\\n        more" {
		t.Errorf("%q %q", exports, commands)
	}
}

func TestEveryCommandThatTheDemoPrintsWorks(t *testing.T) {
	d := startDemo(t, "--no-night", "--rtt", "20")
	ready := d.ready()
	d.wait(20*time.Second, "the commands", func() bool { return strings.Contains(d.out.String(), "# the observatory's API") })
	exports, commands := printedCommands(d.out.String())
	if len(commands) != 10 {
		t.Fatalf("%d commands are printed: %q", len(commands), commands)
	}
	// Standard error is part of the answer: curl and redis-cli end with 0 after
	// many a failure.
	run := func(command string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "bash", "-c", exports+command).CombinedOutput()
		if err != nil {
			t.Fatalf("%s\n%v: %s", command, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	object := func(answer string) (out struct {
		Status string
		ID     string
		Items  []any
		Total  *int
		Up     *bool
	}) {
		t.Helper()
		if err := json.Unmarshal([]byte(answer), &out); err != nil {
			t.Fatalf("%v: %s", err, answer)
		}
		return out
	}
	total := func(command string) int {
		t.Helper()
		answer := run(command)
		if found := object(answer); found.Total != nil {
			return *found.Total
		}
		t.Fatalf("%s\nthere is no total: %s", command, answer)
		return 0
	}
	// The processor finds the primary a moment after the API answers.
	healthy := func() bool { return object(run(commands[0])).Status == "healthy" }
	d.wait(20*time.Second, "the observatory to be healthy", healthy)
	if answer := run(commands[1]); len(object(answer).Items) == 0 {
		t.Errorf("executions: %s", answer)
	}
	if answer := run(commands[2]); object(answer).Up == nil || *object(answer).Up {
		t.Errorf("cutting the link: %s", answer)
	}
	if answer := run(commands[3]); object(answer).Status != "running" || object(answer).ID == "" {
		t.Errorf("observing without the link: %s", answer)
	}
	if answer := run(commands[4]); func() bool { n, err := strconv.Atoi(answer); return err != nil || n < 1 }() {
		t.Errorf("the buffer's length: %s", answer)
	}
	if n := total(commands[5]); n != 1 {
		t.Errorf("the observatory shows %d", n)
	}
	if n := total(commands[6]); n != 0 {
		t.Errorf("cologne shows %d before the link is back", n)
	}
	if answer := run(commands[7]); object(answer).Up == nil || !*object(answer).Up {
		t.Errorf("healing the link: %s", answer)
	}
	d.wait(20*time.Second, "cologne to show the execution", func() bool { return total(commands[6]) == 1 })
	if answer := run(commands[8]); !strings.Contains(answer, "pg_wal_replay_pause") {
		t.Errorf("pausing replay: %s", answer)
	}
	run(`psql "$REPLICA_DB" -c 'SELECT pg_wal_replay_resume()'`)
	if !strings.Contains(commands[9], "kill -9 "+strconv.Itoa(ready.Pids.APIObservatory[0])) {
		t.Errorf("the pid of %q is not %d", commands[9], ready.Pids.APIObservatory[0])
	}
	run(commands[9])
	d.wait(20*time.Second, "another API process", func() bool { return d.ready().Pids.APIObservatory[0] != ready.Pids.APIObservatory[0] })
	viewer := apiClient{base: ready.ObservatoryURL, token: ready.Viewer}
	d.wait(20*time.Second, "the observatory to serve again", func() bool { return viewer.get(t.Context(), "/health/ready", nil) == nil })
	d.wait(20*time.Second, "the observatory to be healthy after the kill", healthy)
}
