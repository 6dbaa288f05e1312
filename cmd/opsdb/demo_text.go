package main

import (
	"context"
	"strings"
	"text/template"
	"time"
)

// addresses is what stays on the screen while the demo runs.
var addresses = template.Must(template.New("addresses").Parse(`
Both sites stay up until Ctrl-C. For another terminal:

  export MAIN={{.Main}}
  export OBS={{.Observatory}}
  export LINK={{.Link}}
  export REDIS={{.Redis}}
  export MAIN_DB='{{.MainDB}}'
  export REPLICA_DB='{{.ReplicaDB}}'
  export TOKEN={{.Tokens.Observer}}

Other tokens: admin    {{.Tokens.Admin}}
              service  {{.Tokens.Service}}
              viewer   {{.Tokens.Viewer}}
The API to read and try: {{.Observatory}}/docs
Log in with a stand-in for GitHub, as vera (observer) or henrietta (admin):
              {{.LoginObservatory}}
              {{.LoginMain}}
Data and logs: {{.Dir}}

Ten commands to try:

   1  curl -s $OBS/health
   2  curl -s "$OBS/executed_obs_units?limit=5&count=true" -H "Authorization: Bearer $TOKEN"
      cut the link:
   3  curl -s -X PUT $LINK/link -d '{"up": false}'
      observe all the same:
   4  curl -s -X POST $OBS/executed_obs_units/start -H "Authorization: Bearer $TOKEN" \
        -H 'Content-Type: application/json' -d '{"obs_unit_id": {{.Unit}}, "comment": "link is cut"}'
      it waits in the buffer, and the observatory shows it; cologne does not yet:
   5  redis-cli --no-auth-warning -u $REDIS LLEN site:observatory:transaction_buffer
   6  curl -s "$OBS/executed_obs_units?comment_contains=cut&count=true" -H "Authorization: Bearer $TOKEN"
   7  curl -s "$MAIN/executed_obs_units?comment_contains=cut&count=true" -H "Authorization: Bearer $TOKEN"
      heal the link, and ask cologne again:
   8  curl -s -X PUT $LINK/link -d '{"up": true}'
      stop the replica's replay: writes are applied at cologne, and wait there for their confirmation (resume with pg_wal_replay_resume):
   9  psql "$REPLICA_DB" -c 'SELECT pg_wal_replay_pause()'
      kill any process; it is back within a second, on the same data:
  10  kill -9 {{.APIPid}}    # the observatory's API
`))

// printAddresses shows where everything is, and what to try.
func (d *demo) printAddresses() {
	var b strings.Builder
	err := addresses.Execute(&b, map[string]any{
		"Main": d.url(0), "Observatory": d.url(1), "Link": d.stack.Link.URL(), "Redis": d.stack.Redis.URL(),
		"MainDB": d.stack.Primary.URL(demoDatabase), "ReplicaDB": d.stack.Replica.URL(demoDatabase),
		"LoginMain": d.standIn.page(d.url(0)), "LoginObservatory": d.standIn.page(d.url(1)),
		"Tokens": d.tokens, "Dir": d.stack.Dir, "APIPid": d.apis[1].Pid(), "Unit": d.unitToTry(),
	})
	if err != nil {
		d.log.Error("printing the addresses", "error", err)
	}
	d.say("%s", b.String())
}

// unitToTry is the id of an obs unit for the printed command.
func (d *demo) unitToTry() string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	id, err := d.stack.Primary.Text(ctx, demoDatabase, "SELECT id::text FROM obs_unit WHERE name = $1", nightUnit)
	if err != nil {
		return "1"
	}
	return id
}
