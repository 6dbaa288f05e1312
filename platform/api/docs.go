package api

import (
	"context"
	"embed"
	"mime"
	"net/http"
	"path"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/opsdb/opsdb/platform/problem"
)

//go:embed swagger/index.html swagger/start.js swagger/swagger-ui.css swagger/swagger-ui-bundle.js swagger/favicon-32x32.png
var swagger embed.FS

// docsPolicy lets the documentation load its own files and nothing else, so that
// it works without internet and gives nothing away.
const docsPolicy = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"

// Raw is an output that is not JSON; say its media type in Op.Produces too.
type Raw struct {
	ContentType string `header:"Content-Type"`
	Policy      string `header:"Content-Security-Policy"`
	Body        []byte
}

type none struct{}

// ProblemKind is one problem that the API can answer.
type ProblemKind struct {
	Type   string `json:"type" doc:"As in Problem.type." example:"/problems/not-found"`
	Code   string `json:"code" doc:"The last part of type." example:"not-found"`
	Title  string `json:"title"`
	Status int    `json:"status" doc:"The HTTP status." example:"404"`
	Doc    string `json:"doc" doc:"When it happens and what a client does about it; Markdown."`
}

// ProblemKinds is all problems that the API can answer.
type ProblemKinds struct {
	Items []ProblemKind `json:"items"`
}

type problemKindsOutput struct{ Body ProblemKinds }

type problemKindInput struct {
	Code string `path:"code" maxLength:"100" doc:"The code of the problem."`
}

type problemKindOutput struct{ Body ProblemKind }

type stream struct {
	Body func(huma.Context)
}

func (r *Router) registerDocuments() {
	for _, d := range []struct {
		id, path, media, summary string
		get                      func() []byte
	}{
		{"get-openapi-json", "/openapi.json", "application/openapi+json", "This document, OpenAPI 3.1 as JSON", func() []byte { return r.document.json }},
		{"get-openapi-yaml", "/openapi.yaml", "application/openapi+yaml", "This document, OpenAPI 3.1 as YAML", func() []byte { return r.document.yaml }},
		{"get-openapi-3-0-json", "/openapi-3.0.json", "application/openapi+json", "This document, OpenAPI 3.0 as JSON, for older generators", func() []byte { return r.document.json30 }},
	} {
		Register(r, Op{ID: d.id, Method: http.MethodGet, Path: d.path, Summary: d.summary, Permission: Open, Tags: []string{"shared", "documentation"}, Produces: d.media},
			func(context.Context, *none) (*Raw, error) {
				return &Raw{ContentType: d.media, Body: d.get()}, nil
			})
	}
	Register(r, Op{ID: "get-docs", Method: http.MethodGet, Path: "/docs", Summary: "The documentation of the API, to read and to try", Permission: Open, Tags: []string{"shared", "documentation"}, Produces: "text/html"},
		func(context.Context, *none) (*Raw, error) {
			page, err := swagger.ReadFile("swagger/index.html")
			if err != nil {
				return nil, err
			}
			return &Raw{ContentType: "text/html; charset=utf-8", Policy: docsPolicy, Body: page}, nil
		})
	r.Handle("GET /docs/{file}", Open, http.HandlerFunc(r.swaggerFile))
	Register(r, Op{ID: "list-problems", Method: http.MethodGet, Path: "/problems", Summary: "All problems that the API can answer", Permission: Open, Tags: []string{"shared", "documentation"}},
		func(context.Context, *none) (*problemKindsOutput, error) {
			out := &problemKindsOutput{Body: ProblemKinds{Items: []ProblemKind{}}}
			for _, k := range r.problems.Kinds() {
				out.Body.Items = append(out.Body.Items, kindDocument(k))
			}
			return out, nil
		})
	Register(r, Op{ID: "get-problem", Method: http.MethodGet, Path: "/problems/{code}", Summary: "What a problem means and what to do about it", Permission: Open, Tags: []string{"shared", "documentation"}},
		func(_ context.Context, in *problemKindInput) (*problemKindOutput, error) {
			k, ok := r.problems.Kind(in.Code)
			if !ok {
				return nil, problem.NotFound.Field("path.code", in.Code, "there is no such problem")
			}
			return &problemKindOutput{Body: kindDocument(k)}, nil
		})
	if r.opts.Metrics != nil {
		Register(r, Op{ID: "get-metrics", Method: http.MethodGet, Path: "/metrics", Summary: "Figures for Prometheus", Permission: "read:metrics", Tags: []string{"shared", "health"}, Produces: "text/plain"},
			func(context.Context, *none) (*stream, error) {
				return &stream{Body: func(ctx huma.Context) {
					req, w := humago.Unwrap(ctx)
					r.opts.Metrics.ServeHTTP(w, req)
				}}, nil
			})
	}
}

func kindDocument(k *problem.Kind) ProblemKind {
	return ProblemKind{Type: "/problems/" + k.Code, Code: k.Code, Title: k.Title, Status: k.Status, Doc: k.Doc}
}

func (r *Router) swaggerFile(w http.ResponseWriter, req *http.Request) {
	name := req.PathValue("file")
	content, err := swagger.ReadFile("swagger/" + name)
	if err != nil {
		r.writeProblem(w, req, problem.NotFound.New("nothing lies at %s", shownPath(req.URL.Path)))
		return
	}
	h := w.Header()
	h.Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	h.Set("Content-Security-Policy", docsPolicy)
	h.Set("Cache-Control", "public, max-age=3600")
	if _, err := w.Write(content); err != nil {
		r.logger.DebugContext(req.Context(), "client went away", slogError(err))
	}
}
