# koubo in a container, without root; docs/packages.md tells more.
#
#   docker build -t koubo .
#   docker run -d --name koubo -p 7860:7860 -v koubo:/data koubo
#   docker logs koubo        # the token that the page asks for
FROM debian:12 AS build
COPY . /src
RUN apt-get update && DEBIAN_FRONTEND=noninteractive /src/tools/package.sh

FROM debian:12-slim
COPY --from=build /src/dist /packages
RUN apt-get update && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends /packages/koubo_*.deb && \
    rm -rf /var/lib/apt/lists/* /packages && \
    install -d -o koubo -g koubo /data
ENV KOUBO_DATA=/data
USER koubo
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/7860 && printf 'GET /healthz HTTP/1.0\r\n\r\n' >&3 && grep -q '200 OK' <&3"]
CMD ["koubo", "serve", "--listen", "0.0.0.0"]
