package pending

import (
	"crypto/rand"
	"embed"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

// scripts are the changes of state. Each file begins with the line that tells
// Redis its flags; the shared prelude follows it.
var scripts = struct {
	accept, putBack, beginEpoch, raiseEpoch, connected, raiseBatch, settle, fail, block, retry, mark, unsweep, expire, lease, release, pause, catchUp, load, loadPage, renewLogin *redis.Script
}{
	accept: script("accept"), putBack: script("put_back"), beginEpoch: script("begin_epoch"), raiseEpoch: script("raise_epoch"),
	connected: script("connected"), raiseBatch: script("raise_batch"), settle: script("settle"), fail: script("fail"), block: script("block"),
	retry: script("retry"), mark: script("mark"), unsweep: script("unsweep"), expire: script("expire"), lease: script("lease"),
	release: script("release"), pause: script("pause"), catchUp: script("catch_up"), load: script("load"), loadPage: script("load_page"), renewLogin: script("renew_login"),
}

func script(name string) *redis.Script {
	flags, rest, _ := strings.Cut(scriptText(name), "\n")
	return redis.NewScript(flags + "\n" + scriptText("prelude") + rest)
}

func scriptText(name string) string {
	b, err := scriptFiles.ReadFile("scripts/" + name + ".lua")
	if err != nil {
		panic("reading an embedded script: " + err.Error())
	}
	return string(b)
}

// discard is the script of that name with the accept script inside it: one change
// of state, and one text of what accepting is.
var discard = func() *redis.Script {
	flags, rest, _ := strings.Cut(scriptText("discard"), "\n")
	_, accept, _ := strings.Cut(scriptText("accept"), "\n")
	return redis.NewScript(flags + "\n" + scriptText("prelude") + strings.Replace(rest, "-- accept.lua\n", accept, 1))
}()

// token is the random half of `load`.
func token() string { return rand.Text() }

// scriptNames are the scripts' names by their hashes.
var scriptNames = sync.OnceValue(func() map[string]string {
	files, err := scriptFiles.ReadDir("scripts")
	if err != nil {
		panic("listing the embedded scripts: " + err.Error())
	}
	names := map[string]string{}
	for _, f := range files {
		name := strings.TrimSuffix(f.Name(), ".lua")
		names[script(name).Hash()] = name
	}
	names[discard.Hash()] = "discard" // its file alone is no script
	return names
})

// ScriptName tells which script of a site's buffer a hash stands for, as MONITOR and
// SLOWLOG show it; empty for none of them.
func ScriptName(hash string) string { return scriptNames()[hash] }
