package pending

import (
	"crypto/rand"
	"embed"
	"strings"

	"github.com/redis/go-redis/v9"
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

// scripts are the changes of state. Each file begins with the line that tells
// Redis its flags; the shared prelude follows it.
var scripts = struct {
	accept, putBack, beginEpoch, raiseEpoch, connected, raiseBatch, settle, fail, block, retry, mark, unsweep, expire, lease, release, pause, catchUp, load *redis.Script
}{
	accept: script("accept"), putBack: script("put_back"), beginEpoch: script("begin_epoch"), raiseEpoch: script("raise_epoch"),
	connected: script("connected"), raiseBatch: script("raise_batch"), settle: script("settle"), fail: script("fail"), block: script("block"),
	retry: script("retry"), mark: script("mark"), unsweep: script("unsweep"), expire: script("expire"), lease: script("lease"),
	release: script("release"), pause: script("pause"), catchUp: script("catch_up"), load: script("load"),
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

// token is the random half of `load`.
func token() string { return rand.Text() }
