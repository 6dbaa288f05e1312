// Logs in to a site as a program does, with libraries that know nothing of opsdb: oauth4webapi judges what OAuth
// answers look like, jose verifies the tokens against the published keys.
//
//   node libraries.mjs API SITE OTHER-API LINK
//
// OTHER-API is another site's: its keys verify this one's tokens too, and it accepts none of them. LINK is the control
// address of the line between the sites.
import assert from 'node:assert/strict'
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import * as oauth from 'oauth4webapi'

const [api, site, otherAPI, link] = process.argv.slice(2)

// Browser keeps cookies, and follows no redirection by itself.
class Browser {
  #cookies = new Map()

  async go(url, { json, form, ...init } = {}) {
    const headers = { Cookie: [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ') }
    if (json) [init.method, init.body, headers['Content-Type']] = ['POST', JSON.stringify(json), 'application/json']
    if (form) [init.method, init.body] = ['POST', new URLSearchParams(form)]
    const answer = await fetch(url, { redirect: 'manual', ...init, headers: { ...headers, ...init.headers } })
    for (const cookie of answer.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie)
      assert.match(cookie, /; HttpOnly/i, `the cookie ${name} can be read by scripts`)
      assert.match(cookie, /; Secure/i, `the cookie ${name} travels in the clear`)
      assert.match(cookie, /; SameSite=(Lax|Strict)/i, `the cookie ${name} goes along with other sites' requests`)
      if (/; Max-Age=(0|-\d+)/i.test(cookie)) this.#cookies.delete(name)
      else this.#cookies.set(name, value)
    }
    return answer
  }

  // follow returns the address that an answer redirects to.
  async follow(answer) {
    assert.equal(answer.status, 302, await answer.clone().text())
    return new URL(answer.headers.get('location'))
  }
}

const refused = async (answer, status) => {
  const problem = await answer.json()
  assert.equal(answer.status, status, JSON.stringify(problem))
  assert.match(answer.headers.get('content-type'), /^application\/problem\+json/)
  return problem
}

// Two independent sets of published keys.
const keys = createRemoteJWKSet(new URL(api + '/.well-known/jwks.json'))
const keysElsewhere = createRemoteJWKSet(new URL(otherAPI + '/.well-known/jwks.json'))

async function verify(token, subject) {
  const expected = { issuer: 'opsdb', audience: site, subject, algorithms: ['EdDSA'], maxTokenAge: '1m' }
  const { payload, protectedHeader } = await jwtVerify(token, keys, expected)
  assert.ok(protectedHeader.kid, 'a token names its key')
  const life = payload.exp - payload.iat
  assert.ok(life >= 15 * 60 && life <= 30 * 60, `a token lives for ${life} s`)
  await jwtVerify(token, keysElsewhere, expected)
  await assert.rejects(jwtVerify(token, keys, { ...expected, audience: 'elsewhere' }), { code: 'ERR_JWT_CLAIM_VALIDATION_FAILED' })
  const [head, body, signature] = token.split('.')
  const forged = Buffer.from(JSON.stringify({ ...payload, sub: 'edwin' })).toString('base64url')
  await assert.rejects(jwtVerify(`${head}.${forged}.${signature}`, keys), { code: 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED' })
  for (const text of [`${head}.${forged}.${signature}`, `${Buffer.from('{"alg":"none"}').toString('base64url')}.${body}.`]) {
    await refused(await me(api, text), 401)
  }
  await refused(await me(otherAPI, token), 401)
  assert.equal(decodeProtectedHeader(token).alg, 'EdDSA')
  const answer = await me(api, token)
  assert.equal((await answer.json()).username, subject)
}

const me = (at, token) => fetch(at + '/auth/me', { headers: { Authorization: `Bearer ${token}` } })

// codeFlow returns the one-time code of a login at a site, and the verifier that belongs to it.
async function codeFlow(browser, login, at = api) {
  const verifier = oauth.generateRandomCodeVerifier()
  const challenge = await oauth.calculatePKCECodeChallenge(verifier)
  const authorize = await browser.follow(await browser.go(`${at}/github/login?code_challenge_method=S256&code_challenge=${challenge}`))
  const asked = authorize.searchParams
  assert.equal(asked.get('redirect_uri'), `${at}/github/callback`)
  assert.equal(asked.get('code_challenge_method'), 'S256')
  assert.notEqual(asked.get('code_challenge'), challenge, 'the two halves of a login have a verifier each')
  const back = await browser.follow(await browser.go(authorize, { form: { login } }))
  const server = { issuer: authorize.origin }
  const client = { client_id: asked.get('client_id') }
  oauth.validateAuthResponse(server, client, back, asked.get('state'))

  await refused(await new Browser().go(back), 400) // a browser that has begun nothing
  const end = await browser.follow(await browser.go(back))
  assert.deepEqual([...end.searchParams.keys()].filter(name => name !== 'api'), [], 'nothing of the login is in the query')
  const code = new URLSearchParams(end.hash.slice(1)).get('code')
  await refused(await browser.go(back), 400) // the same address again
  return { code, verifier, server, client }
}

async function exchanged(browser, login) {
  const { code, verifier, server, client } = await codeFlow(browser, login)
  const exchange = { json: { code, code_verifier: verifier } }
  const tokens = await oauth.processGenericTokenEndpointResponse(server, client, await browser.go(api + '/auth/exchange', exchange))
  assert.equal(tokens.token_type, 'bearer')
  await verify(tokens.access_token, login)
  return { tokens, exchange, server, client }
}

async function logsInByCode() {
  const browser = new Browser()
  const { tokens, server, client } = await exchanged(browser, 'vera')
  const renewed = await oauth.processGenericTokenEndpointResponse(server, client, await browser.go(api + '/auth/refresh', { method: 'POST' }))
  assert.notEqual(renewed.access_token, tokens.access_token)
  await verify(renewed.access_token, 'vera')
  await refused(await browser.go(api + '/auth/refresh', { method: 'POST', headers: { Origin: 'https://elsewhere.example' } }), 403)

  assert.equal((await browser.go(api + '/auth/logout', { method: 'POST' })).status, 204)
  await refused(await me(api, renewed.access_token), 401)
  await refused(await browser.go(api + '/auth/refresh', { method: 'POST' }), 401)
}

async function codesAreOfNoUseToOthers() {
  const { code } = await codeFlow(new Browser(), 'vera')
  await refused(await new Browser().go(api + '/auth/exchange', { json: { code } }), 422)
  await refused(await new Browser().go(api + '/auth/exchange', { json: { code, code_verifier: oauth.generateRandomCodeVerifier() } }), 400)

  // One that comes twice has been stolen: the session ends (RFC 6749, 4.1.2).
  const { tokens, exchange } = await exchanged(new Browser(), 'vera')
  await refused(await new Browser().go(api + '/auth/exchange', exchange), 400)
  await refused(await me(api, tokens.access_token), 401)
}

// logsOutEverywhere ends at another site what was begun there, with the link cut as soon as it is back.
async function logsOutEverywhere() {
  const line = async up => assert.ok((await fetch(link, { method: 'PUT', body: JSON.stringify({ up }), headers: { 'Content-Type': 'application/json' } })).ok)
  const begun = async at => {
    const browser = new Browser()
    const { code, verifier } = await codeFlow(browser, 'henrietta', at)
    const answer = await browser.go(at + '/auth/exchange', { json: { code, code_verifier: verifier } })
    assert.equal(answer.status, 200, await answer.clone().text())
    return { browser, token: (await answer.json()).access_token }
  }
  const [here, there] = [await begun(api), await begun(otherAPI)]
  assert.equal((await me(otherAPI, there.token)).status, 200)
  await line(false)
  try {
    assert.equal((await here.browser.go(api + '/auth/logout', { json: { everywhere: true } })).status, 204)
    await refused(await me(api, here.token), 401)
    assert.equal((await me(otherAPI, there.token)).status, 200, 'the other site knows of it although the link is cut')
  } finally {
    await line(true)
  }
  for (const deadline = Date.now() + 60_000; (await me(otherAPI, there.token)).status !== 401;) {
    assert.ok(Date.now() < deadline, 'a minute later the other site knows nothing of it')
    await new Promise(resolve => setTimeout(resolve, 200))
  }
  await refused(await there.browser.go(otherAPI + '/auth/refresh', { method: 'POST' }), 401)
  const again = await begun(otherAPI) // a later one is not meant
  assert.equal((await me(otherAPI, again.token)).status, 200)
}

async function isNoMember() {
  const browser = new Browser()
  const challenge = await oauth.calculatePKCECodeChallenge(oauth.generateRandomCodeVerifier())
  const authorize = await browser.follow(await browser.go(`${api}/github/login?code_challenge_method=S256&code_challenge=${challenge}`))
  const back = await browser.follow(await browser.go(authorize, { form: { login: 'edwin' } }))
  await refused(await browser.go(back), 403)
}

async function logsInByDevice() {
  const server = { issuer: api }
  const client = { client_id: 'opsdb' }
  const device = await oauth.processDeviceAuthorizationResponse(server, client, await fetch(api + '/github/device', { method: 'POST' }))
  const browser = new Browser()
  const poll = { json: { device_code: device.device_code } }
  const pending = await refused(await browser.go(api + '/github/device/token', poll), 400)
  assert.match(pending.type, /authorization-pending$/)
  const confirmed = await fetch(device.verification_uri, { method: 'POST', body: new URLSearchParams({ user_code: device.user_code, login: 'henrietta' }) })
  assert.equal(confirmed.status, 200)
  const tokens = await oauth.processDeviceCodeResponse(server, client, await browser.go(api + '/github/device/token', poll))
  await verify(tokens.access_token, 'henrietta')
  await refused(await new Browser().go(api + '/github/device/token', poll), 403) // once
}

for (const attempt of [logsInByCode, codesAreOfNoUseToOthers, isNoMember, logsInByDevice, logsOutEverywhere]) {
  await attempt()
  console.log('ok', attempt.name)
}
