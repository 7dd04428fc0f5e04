package web

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// SecretsPage is the list of secrets.
type SecretsPage struct {
	Base
	Rows []SecretRow
	More string
	New  May
}

// A SecretRow is one secret: everything but its value.
type SecretRow struct {
	Ref     Ref
	Version int // 0: not set
	Set     *Moment
	SetBy   string
	Read    *Moment
	ReadBy  string
	UsedBy  UsedBy
	May     May
}

// UsedBy are the pipelines that name something, the first few by their name.
type UsedBy struct {
	Refs []Ref
	More int
}

// comma stands behind each but the last.
func (u UsedBy) comma(i int) string {
	if i < len(u.Refs)-1 {
		return ","
	}
	return ""
}

// VarsPage is the list of variables.
type VarsPage struct {
	Base
	Rows []VarRow
	More string
	New  May
}

// A VarRow is one variable.
type VarRow struct {
	Ref     Ref
	Value   string
	Source  string // whose file has it; empty: set by hand
	Changed Moment
	By      string
	UsedBy  UsedBy
	May     May
}

// A SetPage asks for the value of a secret or a variable.
type SetPage struct {
	Base
	Secret          bool
	Heading         string
	Namespace, Name string
	Known           bool   // the name is given
	Value           string // of a variable; a secret's is never shown
	Problem, Hint   string
	Back            string
	May             May
}

// Action is where the form goes.
func (p SetPage) Action() string {
	if p.Secret {
		return "/secrets/set"
	}
	return "/vars/set"
}

// A DeletePage asks for the name of what is to be deleted.
type DeletePage struct {
	Base
	Secret          bool
	Heading         string
	Namespace, Name string
	Sentence        string
	UsedBy          []Ref
	Problem         string
	Back            string
	May             May
}

// Action is where the form goes.
func (p DeletePage) Action() string {
	if p.Secret {
		return "/secrets/delete"
	}
	return "/vars/delete"
}

// outsidePage is how many secrets or variables a page lists.
const outsidePage = 100

// usedShown is how many pipelines a row names.
const usedShown = 3

func usedBy(namespace string, names []string, many bool) UsedBy {
	u := UsedBy{More: max(0, len(names)-usedShown)}
	for _, n := range names[:min(usedShown, len(names))] {
		u.Refs = append(u.Refs, Ref{namespace, n, many})
	}
	return u
}

// outsideURL is the address of a form about a secret or variable.
func outsideURL(path string, r Ref) string {
	return path + "?" + url.Values{"namespace": {r.Namespace}, "name": {r.Name}}.Encode()
}

// anywhere says whether the reader may set something in some namespace.
func anywhere(by app.Actor) May {
	if by.May(api.RoleAuthor, "") {
		return May{OK: true}
	}
	return May{Missing: fmt.Sprintf("needs role %s, %s has %s", api.RoleAuthor, by.Name, by.Role)}
}

func (s *Server) secrets(c echo.Context) error {
	if err := known(c, "namespace", "after"); err != nil {
		return err
	}
	ctx, who, after, ns := c.Request().Context(), actor(c), c.QueryParam("after"), c.QueryParam("namespace")
	head, err := s.app.PageHead(ctx, who)
	if err != nil {
		return err
	}
	found, err := s.app.Secrets(ctx, who, api.ListSecretsParams{Namespace: ns, Cursor: after, Limit: outsidePage})
	if err != nil {
		return err
	}
	page := SecretsPage{Base: s.base(c, head, "Secrets", "secrets"), New: anywhere(who)}
	page.JSON, page.Command = "/api/v1/secrets"+query("namespace", ns, "cursor", after), "synctl secret ls"
	for _, x := range found.Items {
		row := SecretRow{
			Ref: Ref{x.Namespace, x.Name, page.Many}, Version: x.Version, SetBy: x.SetBy, ReadBy: x.ReadBy,
			UsedBy: usedBy(x.Namespace, x.UsedBy, page.Many), May: may(who, api.RoleAuthor, x.Namespace),
		}
		row.Set, row.Read = page.momentOf(x.SetAt), page.momentOf(x.ReadAt)
		page.Rows = append(page.Rows, row)
	}
	if found.Next != "" {
		page.More = "/secrets" + query("namespace", ns, "after", found.Next)
	}
	noStore(c)
	return s.render(c, http.StatusOK, SecretsMain(page), page.Base, nil)
}

// momentOf is an instant as pages show it; nil where there is none.
func (b Base) momentOf(t time.Time) *Moment {
	if t.IsZero() {
		return nil
	}
	m := b.ago(t)
	return &m
}

func (s *Server) vars(c echo.Context) error {
	if err := known(c, "namespace", "after"); err != nil {
		return err
	}
	ctx, who, after, ns := c.Request().Context(), actor(c), c.QueryParam("after"), c.QueryParam("namespace")
	head, err := s.app.PageHead(ctx, who)
	if err != nil {
		return err
	}
	found, err := s.app.Vars(ctx, who, api.ListVarsParams{Namespace: ns, Cursor: after, Limit: outsidePage})
	if err != nil {
		return err
	}
	page := VarsPage{Base: s.base(c, head, "Variables", "secrets"), New: anywhere(who)}
	page.JSON, page.Command = "/api/v1/vars"+query("namespace", ns, "cursor", after), "synctl var ls"
	for _, x := range found.Items {
		page.Rows = append(page.Rows, VarRow{
			Ref: Ref{x.Namespace, x.Name, page.Many}, Value: cut(tidy(x.Value), 200), Source: x.Source, Changed: page.ago(x.UpdatedAt), By: x.UpdatedBy,
			UsedBy: usedBy(x.Namespace, x.UsedBy, page.Many), May: may(who, api.RoleAuthor, x.Namespace),
		})
	}
	if found.Next != "" {
		page.More = "/vars" + query("namespace", ns, "after", found.Next)
	}
	return s.render(c, http.StatusOK, VarsMain(page), page.Base, nil)
}

// setPage is the form that sets a secret or a variable.
func (s *Server) setPage(c echo.Context, secret bool, ns, name string) (SetPage, error) {
	who := actor(c)
	head, err := s.app.PageHead(c.Request().Context(), who)
	if err != nil {
		return SetPage{}, err
	}
	what, back := "variable", "/vars"
	if secret {
		what, back = "secret", "/secrets"
	}
	page := SetPage{Base: s.base(c, head, "Set a "+what, "secrets"), Secret: secret, Heading: "Set a " + what, Namespace: ns, Name: name, Known: name != "", Back: back, May: anywhere(who)}
	if page.Known {
		page.Heading = "Set " + cut(tidy(name), 128)
		page.Title = page.Heading
		page.May = may(who, api.RoleAuthor, ns)
	}
	if page.Namespace == "" {
		page.Namespace = "default"
		if len(who.Namespaces) > 0 {
			page.Namespace = who.Namespaces[0]
		}
	}
	page.Command = "synctl secret set NAME"
	if !secret {
		page.Command = "synctl var set NAME VALUE"
	}
	noStore(c)
	return page, nil
}

func (s *Server) setSecretPage(c echo.Context) error {
	if err := known(c, "namespace", "name"); err != nil {
		return err
	}
	page, err := s.setPage(c, true, c.QueryParam("namespace"), c.QueryParam("name"))
	if err != nil {
		return err
	}
	return s.render(c, http.StatusOK, SetMain(page), page.Base, nil)
}

func (s *Server) setVarPage(c echo.Context) error {
	if err := known(c, "namespace", "name"); err != nil {
		return err
	}
	ns, name := c.QueryParam("namespace"), c.QueryParam("name")
	page, err := s.setPage(c, false, ns, name)
	if err != nil {
		return err
	}
	if page.Known {
		v, err := s.app.Var(c.Request().Context(), actor(c), app.PipelineRef{Namespace: ns, Name: name})
		if err != nil {
			return err
		}
		page.Value = v.Value
	}
	return s.render(c, http.StatusOK, SetMain(page), page.Base, nil)
}

// setSecret takes the value from the field or from a file. It is in no address, in
// no answer, and not kept for another try.
func (s *Server) setSecret(c echo.Context) error {
	ref := app.PipelineRef{Namespace: strings.TrimSpace(c.FormValue("namespace")), Name: strings.TrimSpace(c.FormValue("name"))}
	value, err := formSecret(c)
	if err == nil {
		var stored api.StoredSecret
		if stored, err = s.app.SetSecret(c.Request().Context(), actor(c), ref, value); err == nil {
			text := fmt.Sprintf("%s is set, version %d.", ref.Name, stored.Secret.Version)
			for _, w := range stored.Warnings {
				text += " " + sentence(w)
			}
			s.flash(c, text)
			return c.Redirect(http.StatusSeeOther, "/secrets")
		}
	}
	return s.askAgain(c, err, true, ref, "")
}

// formSecret is the value that a form sends.
func formSecret(c echo.Context) (string, error) {
	typed := c.FormValue("value")
	file, err := c.FormFile("file")
	if err != nil || file.Filename == "" && file.Size == 0 {
		return typed, nil
	}
	if typed != "" {
		return "", api.Errorf(api.Unprocessable, "there are a value and a file; a secret has one value").WithHint("choose one of them")
	}
	f, err := file.Open()
	if err != nil {
		return "", fmt.Errorf("read a file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		return "", fmt.Errorf("read a file: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
}

func (s *Server) setVar(c echo.Context) error {
	ref := app.PipelineRef{Namespace: strings.TrimSpace(c.FormValue("namespace")), Name: strings.TrimSpace(c.FormValue("name"))}
	value := strings.ReplaceAll(c.FormValue("value"), "\r\n", "\n") // as browsers send lines
	stored, err := s.app.SetVar(c.Request().Context(), actor(c), ref, &value)
	if err != nil {
		return s.askAgain(c, err, false, ref, value)
	}
	text := ref.Name + " is set; runs from now on read it."
	for _, w := range stored.Warnings {
		text += " " + sentence(w)
	}
	s.flash(c, text)
	return c.Redirect(http.StatusSeeOther, "/vars")
}

// askAgain shows the form once more, with what is wrong.
func (s *Server) askAgain(c echo.Context, err error, secret bool, ref app.PipelineRef, value string) error {
	e := explain(err)
	switch e.Code {
	case api.Unprocessable, api.Conflict, api.Guarded, api.Refused:
	default:
		return err
	}
	page, other := s.setPage(c, secret, ref.Namespace, ref.Name)
	if other != nil {
		return other
	}
	page.Known = false // what is wrong may be the name
	page.Value, page.Problem, page.Hint = value, sentence(e.Message), e.Hint
	return s.render(c, e.Code.Status(), SetMain(page), page.Base, nil)
}

// deletePage asks for the name of what is to be deleted, and says what uses it.
func (s *Server) deletePage(c echo.Context, secret bool, ref app.PipelineRef) (DeletePage, error) {
	ctx, who := c.Request().Context(), actor(c)
	head, err := s.app.PageHead(ctx, who)
	if err != nil {
		return DeletePage{}, err
	}
	page := DeletePage{Base: s.base(c, head, "", "secrets"), Secret: secret, Namespace: ref.Namespace, Name: ref.Name, Back: "/vars", May: may(who, api.RoleAuthor, ref.Namespace)}
	var used []string
	if secret {
		x, err := s.app.Secret(ctx, who, ref)
		if err != nil {
			return page, err
		}
		used, page.Back, page.Command = x.UsedBy, "/secrets", "synctl secret rm "+ref.Name+" -n "+ref.Namespace
		page.Sentence = "All its versions go. Nobody can bring them back."
	} else {
		x, err := s.app.Var(ctx, who, ref)
		if err != nil {
			return page, err
		}
		used, page.Command = x.UsedBy, "synctl var rm "+ref.Name+" -n "+ref.Namespace
		page.Sentence = "Runs that were made before keep its value."
		if x.Source != "" {
			page.Sentence, page.May = "It belongs to source "+tidy(cut(x.Source, 100))+": take it out of its file there.", May{Missing: "it is in a file"}
		}
	}
	for _, n := range used {
		page.UsedBy = append(page.UsedBy, Ref{ref.Namespace, n, page.Many})
	}
	page.Heading = "Delete " + ref.Name + "?"
	page.Title = "Delete " + ref.Name
	noStore(c)
	return page, nil
}

func (s *Server) askDelete(secret bool) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := known(c, "namespace", "name"); err != nil {
			return err
		}
		page, err := s.deletePage(c, secret, app.PipelineRef{Namespace: c.QueryParam("namespace"), Name: c.QueryParam("name")})
		if err != nil {
			return err
		}
		return s.render(c, http.StatusOK, DeleteMain(page), page.Base, nil)
	}
}

func (s *Server) delete(secret bool) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx, who := c.Request().Context(), actor(c)
		ref := app.PipelineRef{Namespace: c.FormValue("namespace"), Name: c.FormValue("name")}
		problem := ""
		if strings.TrimSpace(c.FormValue("confirm")) != ref.Name {
			problem = "That is not its name. Type it as it is written."
		}
		status := http.StatusUnprocessableEntity
		if problem == "" {
			back, err := "/vars", error(nil)
			if secret {
				back, err = "/secrets", s.app.DeleteSecret(ctx, who, ref)
			} else {
				err = s.app.DeleteVar(ctx, who, ref)
			}
			if err == nil {
				s.flash(c, ref.Name+" is deleted.")
				return c.Redirect(http.StatusSeeOther, back)
			}
			e := explain(err)
			if e.Code != api.Guarded {
				return err
			}
			problem, status = sentence(e.Message), e.Code.Status()
		}
		page, err := s.deletePage(c, secret, ref)
		if err != nil {
			return err
		}
		page.Problem = problem
		return s.render(c, status, DeleteMain(page), page.Base, nil)
	}
}
