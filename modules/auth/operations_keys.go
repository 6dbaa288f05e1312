package auth

import (
	"context"
	"net/http"

	"github.com/opsdb/opsdb/platform/api"
)

// SigningKeySet is a JWK set (RFC 7517).
type SigningKeySet struct {
	Keys []SigningPublicKey `json:"keys" nullable:"false" doc:"The keys of every site that sign now, or did until a moment ago."`
}

// SigningPublicKey is the public part of an Ed25519 key as a JWK (RFC 8037).
type SigningPublicKey struct {
	KeyType   string `json:"kty" doc:"OKP." example:"OKP"`
	Curve     string `json:"crv" doc:"Ed25519." example:"Ed25519"`
	X         string `json:"x" doc:"The public key, base64url without padding."`
	ID        string `json:"kid" doc:"As in the header of a JWT." example:"cologne-20260715T120000.000000Z-0a1b2c3d"`
	Use       string `json:"use" doc:"sig." example:"sig"`
	Algorithm string `json:"alg" doc:"EdDSA." example:"EdDSA"`
}

type keysOutput struct {
	CacheControl string `header:"Cache-Control" doc:"public: the keys are good for five minutes. An id that is not among them is worth another look."`
	Body         SigningKeySet
}

func registerKeys(r *api.Router, m *Module) {
	api.Register(r, api.Op{
		ID: "get-signing-keys", Method: http.MethodGet, Path: "/.well-known/jwks.json", Permission: api.Open, Tags: []string{"shared", "auth"},
		Summary:     "The public keys that verify access tokens",
		Description: "The Ed25519 keys of every site, as a JWK set. With its database away a site still gives its own, and the others as it read them last.",
	}, m.signingKeys)
}

func (m *Module) signingKeys(ctx context.Context, _ *struct{}) (*keysOutput, error) {
	return &keysOutput{CacheControl: "public, max-age=300", Body: m.config.Keys.PublicKeys(ctx)}, nil
}
