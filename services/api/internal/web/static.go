package web

import (
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/labstack/echo/v4"
)

//go:embed static/app.css static/app.js static/icon.svg static/htmx-4.0.1.min.js static/hx-sse-4.0.1.min.js
var files embed.FS

// assets are the static files under the names that pages use. Names carry the
// content's hash or its version, so that they may be kept for good.
type assets struct {
	CSS, JS, Icon, HTMX, SSE string
	files                    map[string]asset
}

type asset struct {
	kind            string
	plain, squeezed []byte
}

func loadAssets() (*assets, error) {
	a := &assets{files: map[string]asset{}}
	for name, to := range map[string]*string{
		"app.css": &a.CSS, "app.js": &a.JS, "icon.svg": &a.Icon, "htmx-4.0.1.min.js": &a.HTMX, "hx-sse-4.0.1.min.js": &a.SSE,
	} {
		body, err := files.ReadFile("static/" + name)
		if err != nil {
			return nil, err
		}
		ext := path.Ext(name)
		if !strings.Contains(name, ".min.") {
			sum := sha256.Sum256(body)
			name = strings.TrimSuffix(name, ext) + "-" + hex.EncodeToString(sum[:6]) + ext
		}
		a.files[name] = asset{kind: mime.TypeByExtension(ext), plain: body, squeezed: squeeze(body, gzip.BestCompression)}
		*to = "/static/" + name
	}
	return a, nil
}

// static serves one of the files that pages need.
func (s *Server) static(c echo.Context) error {
	f, ok := s.assets.files[c.Param("file")]
	if !ok {
		return echo.ErrNotFound
	}
	h := c.Response().Header()
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	body := f.plain
	if strings.Contains(c.Request().Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = f.squeezed
	}
	return c.Blob(http.StatusOK, f.kind, body)
}
