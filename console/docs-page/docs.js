// The page is served at {prefix}/docs/, so that the document is one step up. Nothing is asked of any other host.
SwaggerUIBundle({
  url: new URL('../openapi.json', document.baseURI).href,
  dom_id: '#api',
  deepLinking: true,
  validatorUrl: null,
  supportedSubmitMethods: ['get', 'post', 'delete'],
  requestInterceptor(request) {
    if (request.method && request.method !== 'GET') request.headers['X-Realmate-Console'] = '1'
    return request
  },
})
