package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opsdb/opsdb/platform/problem"
)

const (
	headerPrefix    = "#/components/headers/"
	parameterPrefix = "#/components/parameters/"
	responsePrefix  = "#/components/responses/"
)

func producedSchema(mediaType string) *huma.Schema {
	if strings.HasSuffix(mediaType, "json") {
		return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
	}
	return &huma.Schema{Type: huma.TypeString}
}

// describe finishes what huma has written about an operation, and takes from it
// what the route's checks need.
func (r *Router) describe(rt *route) {
	op := operationOf(r.huma.OpenAPI().Paths[rt.op.Path], rt.op.Method)
	if rt.op.Filters != nil {
		op.Parameters = append(op.Parameters, rt.op.Filters.document()...)
	}
	if rt.op.NoValidateOnly || rt.op.Method == http.MethodDelete {
		op.Parameters = slices.DeleteFunc(op.Parameters, func(p *huma.Param) bool { return p.Name == validateOnly })
	}
	rt.headers = map[string]bool{}
	hasPath, hasMatch := false, false
	for _, p := range op.Parameters {
		switch p.In {
		case "query":
			rt.query[p.Name] = true
			if p.Schema != nil && p.Schema.Type == huma.TypeArray && p.Explode == nil {
				off := false
				p.Explode = &off
			}
		case "header":
			rt.headers[http.CanonicalHeaderKey(p.Name)] = true
			hasMatch = hasMatch || p.Name == "If-Match"
		case "path":
			hasPath = true
		}
	}
	r.shareHeaderParameters(op)
	if rt.body {
		rt.types = bodyMedia(rt.op, op.RequestBody)
	}

	statuses := append([]int{422, 429, 500, 503}, rt.op.Errors...)
	if rt.op.Permission != Open {
		statuses = append(statuses, 401, 403)
	}
	if hasPath {
		statuses = append(statuses, 404)
	}
	if rt.body {
		statuses = append(statuses, 400, 413, 415)
	}
	if hasMatch {
		statuses = append(statuses, 412)
	}
	if rt.headers["X-Min-Lsn"] {
		statuses = append(statuses, 409, 504)
	}
	delete(op.Responses, "default")
	for code, response := range op.Responses {
		if code == "304" {
			continue
		}
		delete(response.Headers, "Content-Type")
		delete(response.Headers, "Content-Security-Policy")
		r.shareHeaders(response)
	}
	for _, p := range op.Parameters {
		if p.Ref == parameterPrefix+"If-None-Match" {
			op.Responses["304"] = r.shareHeaders(&huma.Response{Description: http.StatusText(http.StatusNotModified)})
		}
	}
	for _, status := range statuses {
		op.Responses[strconv.Itoa(status)] = &huma.Response{Ref: responsePrefix + r.problemResponse(status)}
	}
	for _, status := range rt.op.SameBody {
		success := *op.Responses[successOf(op)]
		success.Description = http.StatusText(status)
		op.Responses[strconv.Itoa(status)] = &success
	}
	if success := successOf(op); rt.query[validateOnly] && success != "200" {
		dry := *op.Responses[success]
		dry.Description = "With validate_only: as it would be."
		op.Responses["200"] = &dry
	}
	if len(rt.op.Problems) > 0 {
		var codes []string
		for _, k := range rt.op.Problems {
			codes = append(codes, "`"+k.Code+"`")
		}
		op.Description = strings.TrimSpace(op.Description + "\n\nProblems: " + strings.Join(codes, ", ") + ".")
	}
}

// successOf is the one 2xx status of an operation.
func successOf(op *huma.Operation) string {
	for code := range op.Responses {
		if strings.HasPrefix(code, "2") {
			return code
		}
	}
	return ""
}

// bodyMedia lists the media types of a body, in the document and for the check.
func bodyMedia(op *Op, body *huma.RequestBody) []string {
	types := []string{jsonType}
	media := body.Content[jsonType]
	if op.MergePatch {
		body.Content[mergePatchType] = media
		types = append(types, mergePatchType)
	}
	if op.NDJSON {
		body.Content[ndjsonType] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Description: "One item a line, each as in the array."}}
		types = append(types, ndjsonType)
	}
	return types
}

func operationOf(item *huma.PathItem, method string) *huma.Operation {
	switch method {
	case http.MethodGet:
		return item.Get
	case http.MethodPost:
		return item.Post
	case http.MethodPut:
		return item.Put
	case http.MethodPatch:
		return item.Patch
	case http.MethodDelete:
		return item.Delete
	case http.MethodHead:
		return item.Head
	}
	return item.Options
}

// shareHeaderParameters moves request headers into the components, where one
// description serves all operations.
func (r *Router) shareHeaderParameters(op *huma.Operation) {
	components := r.huma.OpenAPI().Components
	if components.Parameters == nil {
		components.Parameters = map[string]*huma.Param{}
	}
	for i, p := range op.Parameters {
		if p.In != "header" || p.Ref != "" {
			continue
		}
		if _, known := components.Parameters[p.Name]; !known {
			components.Parameters[p.Name] = p
		}
		op.Parameters[i] = &huma.Param{Ref: parameterPrefix + p.Name}
	}
}

// shareHeaders moves the headers of a response into the components, and adds those
// every response has.
func (r *Router) shareHeaders(response *huma.Response) *huma.Response {
	components := r.huma.OpenAPI().Components
	if components.Headers == nil {
		components.Headers = map[string]*huma.Header{
			"X-Request-Id":     {Description: "The request, as the logs name it; a plain X-Request-Id of the client is kept.", Schema: &huma.Schema{Type: huma.TypeString}},
			"X-Site":           {Description: "The site that answered.", Schema: &huma.Schema{Type: huma.TypeString}},
			"Retry-After":      {Description: "Seconds after which another try makes sense.", Schema: &huma.Schema{Type: huma.TypeInteger}},
			"WWW-Authenticate": {Description: "Bearer.", Schema: &huma.Schema{Type: huma.TypeString}},
		}
	}
	if response.Headers == nil {
		response.Headers = map[string]*huma.Param{}
	}
	for name, header := range response.Headers {
		if header.Ref != "" {
			continue
		}
		if _, known := components.Headers[name]; !known {
			if header.Description == "" && header.Schema != nil {
				header.Description = header.Schema.Description
			}
			components.Headers[name] = header
		}
		response.Headers[name] = &huma.Param{Ref: headerPrefix + name}
	}
	for _, name := range []string{"X-Request-Id", "X-Site"} {
		response.Headers[name] = &huma.Param{Ref: headerPrefix + name}
	}
	return response
}

// problemResponse returns the name of the shared response of an error status.
func (r *Router) problemResponse(status int) string {
	name := "Problem" + strings.Map(func(c rune) rune {
		if unicode.IsLetter(c) {
			return c
		}
		return -1
	}, http.StatusText(status))
	components := r.huma.OpenAPI().Components
	if components.Responses == nil {
		components.Responses = map[string]*huma.Response{}
	}
	if _, known := components.Responses[name]; known {
		return name
	}
	var codes []string
	for _, k := range r.problems.Kinds() {
		if k.Status == status {
			codes = append(codes, "`"+k.Code+"`")
		}
	}
	description := http.StatusText(status)
	if len(codes) > 0 {
		description += ": " + strings.Join(codes, ", ")
	}
	response := &huma.Response{
		Description: description,
		Content:     map[string]*huma.MediaType{problem.ContentType: {Schema: &huma.Schema{Ref: schemaPrefix + "Problem"}}},
		Headers:     map[string]*huma.Param{},
	}
	r.shareHeaders(response)
	if status == 429 || status == 503 {
		response.Headers["Retry-After"] = &huma.Param{Ref: headerPrefix + "Retry-After"}
	}
	if status == 401 {
		response.Headers["WWW-Authenticate"] = &huma.Param{Ref: headerPrefix + "WWW-Authenticate"}
	}
	components.Responses[name] = response
	return name
}

// finishDocument opens the schemas of responses, so that a client of today reads
// the answers of tomorrow, and writes the document in its three forms.
func (r *Router) finishDocument() {
	api := r.huma.OpenAPI()
	requests := schemaWalk{registry: r.registry, seen: map[*huma.Schema]bool{}}
	responses := schemaWalk{registry: r.registry, seen: map[*huma.Schema]bool{}}
	tags := map[string]bool{}
	for _, item := range api.Paths {
		for _, method := range append(slices.Clone(methods), http.MethodOptions) {
			op := operationOf(item, method)
			if op == nil {
				continue
			}
			for _, tag := range op.Tags {
				tags[tag] = true
			}
			if op.RequestBody != nil {
				for _, media := range op.RequestBody.Content {
					requests.walk(media.Schema)
				}
			}
			for _, response := range op.Responses {
				for _, media := range response.Content {
					responses.walk(media.Schema)
				}
			}
		}
	}
	responses.walk(&huma.Schema{Ref: schemaPrefix + "Problem"})
	for s := range responses.seen {
		if closed, ok := s.AdditionalProperties.(bool); ok && !closed && !requests.seen[s] {
			s.AdditionalProperties = nil
		}
	}
	for tag := range tags {
		api.Tags = append(api.Tags, &huma.Tag{Name: tag, Description: r.opts.Describe[tag]})
	}
	sort.Slice(api.Tags, func(i, j int) bool { return api.Tags[i].Name < api.Tags[j].Name })
	r.document = newDocuments(api)
}

// schemaWalk visits a schema and all it leads to.
type schemaWalk struct {
	registry *registry
	seen     map[*huma.Schema]bool
}

func (w schemaWalk) walk(s *huma.Schema) {
	if s == nil {
		return
	}
	if s.Ref != "" {
		s = w.registry.SchemaFromRef(s.Ref)
	}
	if s == nil || w.seen[s] {
		return
	}
	w.seen[s] = true
	w.walk(s.Items)
	for _, property := range s.Properties {
		w.walk(property)
	}
	if more, ok := s.AdditionalProperties.(*huma.Schema); ok {
		w.walk(more)
	}
}

// documents are the forms of the document, ready to be sent.
type documents struct{ json, yaml, json30 []byte }

func newDocuments(api *huma.OpenAPI) documents {
	var d documents
	var err error
	if d.json, err = json.Marshal(api); err == nil {
		if d.yaml, err = api.YAML(); err == nil {
			d.json30, err = api.Downgrade()
		}
	}
	if err != nil {
		panic("api: the document cannot be written: " + err.Error())
	}
	return d
}
